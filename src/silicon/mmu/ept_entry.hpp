// An entry of the second-level translation for a page of EPC (SDM vol. 3C, table 29-7): the frame, if one is mapped,
// and the accessed and dirty flags. The hypervisor maps and unmaps while processors translate; each change is one
// store.
#pragma once

#include <atomic>
#include <optional>

#include "silicon/state/names.hpp"
#include "silicon/state/tlb.hpp"

namespace cloister::silicon {

/// Zero bytes are one that maps nothing; or, of a page whose range was mapped as a whole, one that leaves it to the
/// range.
class EptEntry {
 public:
  static constexpr u64 accessed = u64{1} << 8, dirty = u64{1} << 9;

  /// The flags that an access sets, where they are kept.
  static constexpr u64 flags_of(Access access) { return access == Access::write ? accessed | dirty : accessed; }

  struct Translation {
    Mfn frame;
    bool dirty;
  };
  /// What a processor finds, after it has set `flags`; nullopt: nothing is mapped.
  std::optional<Translation> translate(u64 flags) {
    u64 bits = bits_.load(std::memory_order_acquire);
    do {
      if ((bits & present) == 0) return std::nullopt;
      if ((bits & flags) == flags) break;
    } while (!bits_.compare_exchange_weak(bits, bits | flags, std::memory_order_acq_rel, std::memory_order_acquire));
    return Translation{Mfn{bits >> arch::page_shift}, ((bits | flags) & dirty) != 0};
  }
  /// It was mapped or unmapped by itself, so that it says what the page is, and not its range.
  bool is_own() const { return (bits_.load(std::memory_order_acquire) & own) != 0; }
  /// False: something is mapped.
  bool map(Mfn frame) {
    u64 bits = bits_.load(std::memory_order_relaxed);
    do {
      if ((bits & present) != 0) return false;
    } while (
        !bits_.compare_exchange_weak(bits, frame.value << arch::page_shift | own | present, std::memory_order_acq_rel));
    return true;
  }
  /// `of_range`: the frame that the page has by its range, if it has one.
  std::optional<Mfn> unmap(std::optional<Mfn> of_range) {
    const u64 bits = bits_.exchange(own, std::memory_order_acq_rel);
    if ((bits & own) == 0) return of_range;
    if ((bits & present) == 0) return std::nullopt;
    return Mfn{bits >> arch::page_shift};
  }

  /// The flags alone, of a page whose frame its range knows; true: the dirty flag is set.
  bool mark(u64 flags) {
    u64 bits = bits_.load(std::memory_order_relaxed);
    if ((bits & flags) != flags) bits = bits_.fetch_or(flags, std::memory_order_acq_rel);
    return ((bits | flags) & dirty) != 0;
  }
  /// Clears the flag; whether it was set.
  bool take(u64 flag) {
    return (bits_.load(std::memory_order_relaxed) & flag) != 0 &&
           (bits_.fetch_and(~flag, std::memory_order_acq_rel) & flag) != 0;
  }

 private:
  static constexpr u64 present = 7;         ///< readable, writable, executable
  static constexpr u64 own = u64{1} << 11;  ///< of those that the processor ignores

  std::atomic<u64> bits_{0};
};
static_assert(sizeof(EptEntry) == 8 && std::atomic<u64>::is_always_lock_free);

}  // namespace cloister::silicon
