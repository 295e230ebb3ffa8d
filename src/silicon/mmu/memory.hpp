// Guest-physical memory behind the second-level translation, and the one door for stores into it.
//
// Every page has a state: a generation, which a store into a page with cached blocks moves on, and marks. The TLB lets
// a store pass inline only where page_writable_inline() holds; every other store tells the door, before it writes, by
// page_store().
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "silicon/silicon.hpp"

namespace cloister::silicon {

struct PageState {
  std::atomic<u32> generation{0};
  std::atomic<bool> code{false};   ///< blocks are cached from this page
  std::atomic<bool> dirty{false};  ///< written since the dirty log was last taken
};

/// True if stores may bypass page_store().
inline bool page_writable_inline(const PageState& s) {
  return s.dirty.load(std::memory_order_relaxed) && !s.code.load(std::memory_order_acquire);
}

/// A store into the page is about to happen (or has: the caller writes before and after the call makes no difference to
/// this thread). Returns true if it makes cached blocks stale.
inline bool page_store(PageState& s) {
  s.dirty.store(true, std::memory_order_relaxed);
  if (!s.code.load(std::memory_order_acquire)) return false;
  s.code.store(false, std::memory_order_relaxed);
  s.generation.fetch_add(1, std::memory_order_acq_rel);
  return true;
}

struct Unmapper {
  u64 bytes = 0;
  void operator()(u8* p) const;
};
using HostMapping = std::unique_ptr<u8, Unmapper>;
/// Anonymous zeroed memory, taken from the host when it is touched; null if there is none.
HostMapping map_host(u64 bytes);

/// RAM with its page states; owned by the slot, or borrowed (tests).
struct Slot {
  u64 base = 0, bytes = 0;
  u8* host = nullptr;                  ///< RAM; null: EPC
  Mfn first_frame{};                   ///< EPC
  std::unique_ptr<PageState[]> pages;  ///< RAM
  HostMapping mapping;

  bool contains(u64 gpa) const { return gpa - base < bytes; }
};

class GuestMemory::Impl {
 public:
  tl::expected<void, MapError> add(Slot slot);
  /// Borrowed RAM: the span outlives this object.
  tl::expected<void, MapError> add_borrowed(u64 base, std::span<u8> ram);
  void remove(u64 base, u64 bytes);
  /// The slot that holds the address; null if nothing is mapped there.
  const Slot* find(u64 gpa) const;

  /// What a RAM page is on the host; host is null if it is not RAM.
  struct RamPage {
    u8* host = nullptr;
    PageState* state = nullptr;
  };
  RamPage ram_page(u64 gpa) const;

  /// Held for updates that one host atomic cannot do (LOCK across pages).
  std::mutex split_lock;

 private:
  std::vector<Slot> slots_;  ///< sorted by base
};

}  // namespace cloister::silicon
