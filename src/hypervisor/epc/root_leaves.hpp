// How many leaves of ENCLS and ENCLV the hypervisor has begun, and ended, on a domain's EPC: a guest's leaf that found
// in use what it needs has met one of them, or another of the guest's own. And how such a leaf is run.
#pragma once

#include <atomic>
#include <thread>

#include "arch/types.hpp"
#include "hypervisor/epc/answer.hpp"

namespace cloister::hypervisor {

/// Any thread.
class RootLeaves {
 public:
  /// For the time of a leaf.
  class Running {
   public:
    explicit Running(RootLeaves& leaves) : leaves_(leaves) { leaves_.begun_.fetch_add(1); }
    ~Running() { leaves_.ended_.fetch_add(1); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    RootLeaves& leaves_;
  };

  u64 ended() const { return ended_.load(); }
  /// One ran at some time since so many had ended.
  bool ran_since(u64 ended) const { return begun_.load() != ended; }

 private:
  std::atomic<u64> begun_{0}, ended_{0};
};

/// Runs a leaf, again and again while others have what it needs, which they do for microseconds. One that faults for
/// another reason would do so for ever.
inline vmx::EnclsResult until_free(RootLeaves& leaves, const auto& leaf) {
  constexpr unsigned most_tries = 1'000'000;
  const RootLeaves::Running running(leaves);
  vmx::EnclsResult result = leaf();
  for (unsigned tries = 1; may_be_busy(result) && tries < most_tries; ++tries) {
    std::this_thread::yield();
    result = leaf();
  }
  return result;
}

}  // namespace cloister::hypervisor
