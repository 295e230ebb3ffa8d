// What every use of MPFR needs around it.
#pragma once

#include <mpfr.h>

#include "arch/types.hpp"

namespace cloister::silicon {

/// MPFR keeps constants that it has computed (pi, log 2) for each thread, and frees them for nobody: a thread does it
/// at its end (MPFR manual, "Memory Handling").
struct ThreadCaches {
  ThreadCaches() = default;
  ~ThreadCaches() { mpfr_free_cache2(MPFR_FREE_LOCAL_CACHE); }
  ThreadCaches(const ThreadCaches&) = delete;
  ThreadCaches& operator=(const ThreadCaches&) = delete;
};

/// Stands around every use of MPFR, which may use the host's floating point inside: the guest's MXCSR is put away
/// meanwhile.
class MpfrInUse {
 public:
  MpfrInUse() {
    [[maybe_unused]] thread_local const ThreadCaches caches;
    constexpr u32 plain = 0x1f80;
    asm volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(saved_) : "m"(plain) : "memory");
  }
  ~MpfrInUse() { asm volatile("ldmxcsr %0" : : "m"(saved_) : "memory"); }
  MpfrInUse(const MpfrInUse&) = delete;
  MpfrInUse& operator=(const MpfrInUse&) = delete;

 private:
  u32 saved_ = 0;
};

}  // namespace cloister::silicon
