// What a pager has and did, for whoever looks while it runs. Memory of the caller's, which may be shared with other
// processes.
#pragma once

#include <atomic>
#include <chrono>

#include "arch/types.hpp"

namespace cloister::hypervisor {

struct PagerCounts {
  /// Pages. `frames` are all that it has: with a page, with a version array, free. `active` of the resident ones were
  /// used of late.
  std::atomic<u64> frames{0}, resident{0}, active{0}, evicted{0}, lost{0};
  /// Since the domain began: pages, and nanoseconds that loads took, and that the gate was closed. `shortages` of the
  /// evictions were made for want of a frame, and not to give frames back.
  std::atomic<u64> loads{0}, load_ns{0}, evictions{0}, shortages{0}, gates{0}, gate_ns{0};

  /// Of a guest that starts anew, with so many frames: nothing of it has been used yet.
  void start(u64 has_frames) {
    frames = has_frames;
    resident = active = evicted = lost = 0;
  }
};
static_assert(std::atomic<u64>::is_always_lock_free);

inline u64 nanoseconds_since(std::chrono::steady_clock::time_point begin) {
  return static_cast<u64>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count());
}

}  // namespace cloister::hypervisor
