// Counts of what processors did, for the diagnostics door; no instruction depends on them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "arch/sgx.hpp"

namespace cloister::silicon {

/// Lies in memory that other processes read while processors run: relaxed atomics, each for itself.
struct EventCounts {
  using Count = std::atomic<u64>;
  static_assert(Count::is_always_lock_free);
  /// Numbers from which on leaves, or codes, are counted as the last one.
  static constexpr std::size_t encls_leaves = 32, enclu_leaves = 16, enclv_leaves = 4, einit_codes = 64;

  std::array<Count, encls_leaves> encls;
  std::array<Count, enclu_leaves> enclu;
  std::array<Count, enclv_leaves> enclv;
  std::array<Count, einit_codes> einit_failures;  ///< by error code
  Count asynchronous_exits;
  Count instructions;  ///< that guests have retired

  template <std::size_t n>
  static void add(std::array<Count, n>& counts, u64 which) {
    add(counts[std::min<u64>(which, n - 1)], 1);
  }
  static void add(Count& count, u64 more) { count.fetch_add(more, std::memory_order_relaxed); }
};

}  // namespace cloister::silicon
