// What a pager did, for whoever looks while it runs.
#pragma once

#include <atomic>

#include "arch/types.hpp"

namespace cloister::hypervisor {

struct PagerCounts {
  std::atomic<u64> resident{0}, evicted{0}, lost{0};  ///< pages
  std::atomic<u64> loads{0}, evictions{0};            ///< since the domain began
};

}  // namespace cloister::hypervisor
