// How many leaves of ENCLS and ENCLV the hypervisor has begun, and ended, on a domain's EPC: a guest's leaf that found
// in use what it needs has met one of them, or another of the guest's own.
#pragma once

#include <atomic>

#include "arch/types.hpp"

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

}  // namespace cloister::hypervisor
