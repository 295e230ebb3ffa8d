// Guest-physical memory behind the second-level translation, and the one door for stores into it.
//
// Every page has a state: a generation, which a store into a page with cached blocks moves on, and marks. The TLB lets
// a store pass inline only where page_writable_inline() holds; every other store tells the door, before it writes, by
// page_store().
//
// Processors run on threads of their own. Who caches blocks from a page first makes sure that no other processor stores
// there inline (Mmu::guard_code): it claims the page, asks the others, and waits until each has come to the end of its
// block. What a processor stores after that goes through page_store(), and what it stored before is in memory.
//
// By the same way a Hold stops all processors between two blocks: for an update that one host atomic cannot do, and for
// changes of the slots, which processors look at without a lock. Who takes the dirty log has all inline stores stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "host/mutex.hpp"
#include "silicon/memory/host_mapping.hpp"
#include "silicon/memory/page_state.hpp"
#include "silicon/mmu/ept_entry.hpp"
#include "silicon/state/names.hpp"

namespace cloister::silicon {

class Mmu;

/// RAM with its page states, owned by the slot, or borrowed (tests); or EPC.
struct Slot {
  u64 base = 0, bytes = 0;
  u8* host = nullptr;                  ///< RAM; null: EPC
  std::optional<Mfn> first_frame;      ///< EPC: of the whole slot, but for pages that are mapped by themselves
  std::unique_ptr<PageState[]> pages;  ///< RAM
  HostMapping mapping;                 ///< RAM, or the entries of EPC

  bool contains(u64 gpa) const { return gpa - base < bytes; }
  u64 page_of(u64 gpa) const { return (gpa - base) / arch::page_size; }
  EptEntry& entry(u64 page) const { return reinterpret_cast<EptEntry*>(mapping.get())[page]; }
  /// What a page of EPC is, after an access that sets these flags of its entry; nullopt: nothing is mapped.
  std::optional<EptEntry::Translation> translate(u64 page, u64 flags) const {
    if (!first_frame || entry(page).is_own()) return entry(page).translate(flags);
    return EptEntry::Translation{*first_frame + page, flags != 0 && entry(page).mark(flags)};
  }
  bool map(u64 page, Mfn frame) const { return (!first_frame || entry(page).is_own()) && entry(page).map(frame); }
  std::optional<Mfn> unmap(u64 page) const {
    return entry(page).unmap(first_frame ? std::optional(*first_frame + page) : std::nullopt);
  }
};

/// The processors that may store into a memory, and how they ask each other to stop storing inline into a page.
struct Shootdown {
  Mutex mutex;
  Condition changed;  ///< requests were made or taken over
  std::vector<Mmu*> processors CLOISTER_GUARDED_BY(mutex);
  std::atomic<u32> count{0};  ///< of processors
  std::atomic<u32> next_claim{PageState::first_claim};

  // Of holds.
  using Clock = std::chrono::steady_clock;
  bool held CLOISTER_GUARDED_BY(mutex) = false;
  u32 aside CLOISTER_GUARDED_BY(mutex) = 0;  ///< processors that a hold stopped and that have not gone on since
  u64 holds CLOISTER_GUARDED_BY(mutex) = 0;  ///< how many there were
  Clock::time_point held_since CLOISTER_GUARDED_BY(mutex){}, rest_until CLOISTER_GUARDED_BY(mutex){};

  /// For a processor that a hold stops: returns once the hold is over.
  void stand_aside() CLOISTER_REQUIRES(mutex);

  /// A value for PageState::code that no other claim has.
  u32 claim() {
    const u32 value = next_claim.fetch_add(1, std::memory_order_relaxed);
    return value < PageState::first_claim ? claim() : value;
  }
};

/// While it lives, the memory's processors stand still between two blocks.
class Hold {
 public:
  /// For a thread that is in no run() of theirs.
  explicit Hold(Shootdown& all);
  /// For a processor in run(), itself between two blocks; `self` alone runs on. However often processors ask
  /// for it, the others get on: it waits until those that were stopped have gone on, and then nine times as long as
  /// they stood still, at most 10 ms.
  Hold(Shootdown& all, Mmu& self);
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  void stop() CLOISTER_REQUIRES(all_.mutex);
  Shootdown& all_;
};

class MemoryImpl {
 public:
  // These three wait for the processors.
  tl::expected<void, MapError> add(Slot slot);
  /// Borrowed RAM: the span outlives this object.
  tl::expected<void, MapError> add_borrowed(u64 base, std::span<u8> ram);
  tl::expected<void, MapError> remove(u64 base, u64 bytes);
  /// The slot that holds the address; null if nothing is mapped there. For who has `door`, and for processors in run(),
  /// which need no lock: no slot changes but under a hold.
  const Slot* find(u64 gpa) const CLOISTER_NO_THREAD_SAFETY_ANALYSIS;

  /// What a RAM page is on the host; host is null if it is not RAM.
  struct RamPage {
    u8* host = nullptr;
    PageState* state = nullptr;
  };
  RamPage ram_page(u64 gpa) const;

  /// The slot of a page of EPC; null: it is none, or not aligned. For who has `door`.
  const Slot* epc_slot(u64 gpa) const;
  /// What INVEPT is for: each processor forgets its translations before it runs on.
  void invalidate() { generation_.fetch_add(1, std::memory_order_release); }
  u64 generation() const { return generation_.load(std::memory_order_acquire); }

  /// Accessed and dirty flags (EPTP bit 6).
  bool keeps_flags() const { return keeps_flags_.load(std::memory_order_relaxed); }
  void keep_flags(bool on);
  /// Clears one of the flags of EptEntry in a range of pages.
  std::vector<bool> take_flags(u64 base, u64 pages, u64 flag);
  std::vector<bool> written(u64 base, u64 pages) const;
  /// When it returns each processor's next store into a page that is not dirty will find that out.
  void stop_inline_stores();

  Shootdown shootdown;
  /// Who comes from outside the processors shares it while it looks at slots.
  mutable SharedMutex door;

 private:
  void forget_everywhere();

  std::atomic<u64> generation_{0};
  std::atomic<bool> keeps_flags_{false};
  std::vector<Slot> slots_ CLOISTER_GUARDED_BY(door);  ///< sorted by base
};

}  // namespace cloister::silicon
