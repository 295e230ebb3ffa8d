// What a guest has given back of its EPC, for whoever looks while it runs, and what its hypervisor does with the
// frames. Memory of the caller's, which may be shared with other processes.
#pragma once

#include <array>
#include <atomic>

#include "arch/types.hpp"

namespace cloister::hypervisor {

struct BalloonCounts {
  /// Of EPC ranges, in their order, so many are counted one by one.
  static constexpr std::size_t most_ranges = 8;

  /// Pages that the guest is asked to have, and that it has given and not taken again.
  std::atomic<u64> target{0}, given{0};
  /// Without a pager, frames that each range needs (fixed_epc.hpp): for pages that have one, and for those that are to
  /// have one. What it has beyond that is spare.
  std::array<std::atomic<u64>, most_ranges> needs{};

  /// Of a guest that starts anew, and sees so many pages.
  void start(u64 pages) {
    target = pages;
    given = 0;
    for (auto& range : needs) range = 0;
  }
};

}  // namespace cloister::hypervisor
