// Version arrays of the hypervisor's own (SDM vol. 3D, 37.5.4 and EPA): pages of EPC whose 512 slots hold the versions
// of what it has evicted. A guest never has one, and none is ever evicted.
//
// Thread rules: its owner's.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "hypervisor/epc/moving/moved_epc.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class VersionPages {
 public:
  static constexpr u32 slots = arch::page_size / sizeof(u64);

  explicit VersionPages(vmx::Package& package) : package_(package) {}

  /// So many slots are free.
  u64 free_slots() const { return free_; }
  /// None is taken.
  bool unused() const { return free_ == count_ * slots; }
  /// Makes a version array of a free frame. False: it is not free, or a leaf has it at the moment.
  bool add(arch::Mfn frame);
  /// A free slot, which is taken from now on. Precondition: there is one.
  SlotName take();
  /// Its version has been used, or will never be.
  void give_back(SlotName slot);
  vmx::VersionSlot place_of(SlotName slot) const { return {pages_[slot.page].frame, slot.index}; }

  /// Takes away an array of which no slot is used, while there are `slots` free ones beside it: its frame, which is
  /// free.
  std::optional<arch::Mfn> remove_one();
  /// All of them: their frames.
  std::vector<arch::Mfn> remove_all();
  u64 pages() const { return count_; }

  // ---- version_tree.cpp
  /// Where frames come from, and go to.
  struct Frames {
    std::function<std::optional<arch::Mfn>()> take;
    std::function<void(arch::Mfn)> give_back;
  };
  using Done = tl::expected<void, std::string>;
  /// Evicts all but one, which is made if there is none; in the order in which they went. An error: all are there.
  tl::expected<std::vector<MovedArray>, std::string> evict_all(const Frames& frames);
  /// Then: the one that is left.
  u32 last_number() const;
  arch::Mfn frame_of(u32 number) const { return pages_[number].frame; }
  bool there(u32 number) const { return pages_[number].there; }
  /// Of all that are there.
  std::vector<arch::Mfn> frames_there() const;
  /// Of one that is out, what has its version being there.
  Done load(const MovedArray& array, const Frames& frames);
  /// Takes those away of which no slot is used.
  void remove_unused(const Frames& frames);
  /// Where there is none: these arrays are out, and their root is to be in this frame; whose slots are used. The error
  /// says what cannot be. Numbers are below `most`.
  Done expect(const MovedEpc& moved, arch::Mfn root, u64 most);

 private:
  struct Page {
    arch::Mfn frame{};
    bool there = false, out = false;
    u32 used = 0;                        ///< slots
    std::array<u64, slots / 64> bits{};  ///< which
  };
  std::optional<u32> make(arch::Mfn frame);
  Done evict_into(u32 number, u32 parent, MovedArray& to, const Frames& frames);
  bool occupy(SlotName slot);
  bool has_room(u32 page) const { return page < pages_.size() && pages_[page].there && pages_[page].used < slots; }

  vmx::Package& package_;
  std::vector<Page> pages_;
  u32 filling_ = 0;  ///< the page that gives slots until it is full
  u64 free_ = 0, count_ = 0;
};

}  // namespace cloister::hypervisor
