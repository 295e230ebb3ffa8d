// EPC of which every page has its frame, until the guest gives it back (epc/balloon.hpp). No leaf of the guest's exits
// for it.
//
// A frame of a page that was given is spare, and goes to whoever asks for spare frames. So is one that has come beyond
// those of its pages, which is lent for the versions of a domain that leaves (epc/moving/). A guest that takes the page
// again has another one, which must have come first: so that it can come, what the guest lacks is said in `counts`.
// That is what it was last asked to have beyond what it has, what it last tried to take, and, after a reset, pages of
// which the frames are somebody else's.
//
// Thread rules: any thread that holds no lock of the machine's.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/epc/balloon.hpp"
#include "hypervisor/epc/balloon_counts.hpp"
#include "hypervisor/epc/epc_pages.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "hypervisor/epc/pager/gate.hpp"
#include "hypervisor/epc/root_leaves.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class FixedEpc {
 public:
  using Frames = std::vector<vmx::EpcSection>;
  struct Domain {
    vmx::Package& package;
    vmx::GuestMemory& memory;    ///< where the ranges are mapped to the frames
    EpcPages pages;              ///< the EPC that the guest sees
    std::vector<Frames> frames;  ///< of each range, in the order of its pages; of its last ones they may be missing
    Gate& gate;
    Mutex& handlers;  ///< what the handler of an exit has from frame_of() on, until its leaf has ended
    RootLeaves& leaves;
    BalloonCounts* counts = nullptr;  ///< where it says what it needs; must outlive it; null: in itself
  };
  explicit FixedEpc(Domain domain);

  Ballooned give(std::span<const arch::Gpa> pages) CLOISTER_EXCLUDES(lock_);
  Ballooned take(std::span<const arch::Gpa> pages) CLOISTER_EXCLUDES(lock_);
  /// The guest is asked to have so many pages: what it has given and lacks of that is wanted, and nothing else.
  void want(u64 pages) CLOISTER_EXCLUDES(lock_);
  /// Of the page that has the address. Nullopt: no page of the domain's EPC, or it has none. With `handlers` held, too.
  std::optional<arch::Mfn> frame_of(arch::Gpa page) const CLOISTER_EXCLUDES(lock_);
  /// Pages that the guest has given and not taken again.
  u64 given() const CLOISTER_EXCLUDES(lock_);
  std::vector<arch::Gpa> given_pages() const CLOISTER_EXCLUDES(lock_);
  /// Pages that have been without a frame since the start.
  u64 missing() const CLOISTER_EXCLUDES(lock_);

  /// More frames for a range, free pages that nobody else has: missing pages have theirs at once, the rest is spare.
  void lend(std::size_t range, std::span<const vmx::EpcSection> frames) CLOISTER_EXCLUDES(lock_);
  /// Gives up to `most` spare frames that nobody wants: free pages, and not the domain's any more.
  Frames give_back(u64 most, std::span<const vmx::EpcSection> of = {}) CLOISTER_EXCLUDES(lock_);
  /// A spare frame, for versions of what is evicted: neither spare nor anybody's until it is back.
  std::optional<arch::Mfn> borrow() CLOISTER_EXCLUDES(lock_);
  /// All that were borrowed and are free, but for these, are spare again.
  void take_borrowed_back(std::span<const arch::Mfn> but = {}) CLOISTER_EXCLUDES(lock_);
  /// All frames that the domain has, of each range.
  std::vector<Frames> held() const CLOISTER_EXCLUDES(lock_);

 private:
  struct Range {
    FrameSet held;
    std::vector<arch::Mfn> spare{};  ///< the one that was used last at the end: the host has given its memory already
    u64 missing = 0;                 ///< its last pages
    u64 given = 0;                   ///< pages
    u64 wanted = 0;                  ///< frames, for those that are given
  };
  std::optional<arch::Mfn> frame_now(arch::Gpa page) const CLOISTER_REQUIRES(lock_);
  void show(std::size_t range) CLOISTER_REQUIRES(lock_);

  const Domain domain_;
  mutable Mutex lock_;
  bool giving_ CLOISTER_GUARDED_BY(lock_) = false;  ///< one caller at a time
  Condition over_;                                  ///< it has given
  /// Pages that have not the frame any more that they began with, with the one that they have now, if any.
  std::map<arch::Gpa, std::optional<arch::Mfn>> own_ CLOISTER_GUARDED_BY(lock_);
  std::vector<Range> ranges_ CLOISTER_GUARDED_BY(lock_);
  std::vector<arch::Mfn> borrowed_ CLOISTER_GUARDED_BY(lock_);
  BalloonCounts own_counts_;
  BalloonCounts& counts_;
};

}  // namespace cloister::hypervisor
