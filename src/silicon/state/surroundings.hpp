// What an instruction asks of the logical processor around its state: controls, clock, randomness, counts. None of it
// is asked on a hot path.
#pragma once

#include <Zydis/Zydis.h>

#include <functional>

#include "silicon/state/names.hpp"

namespace cloister::silicon {

struct Op;

class Surroundings {
 public:
  virtual const Controls& controls() const = 0;
  /// RDMSR and WRMSR of it do not exit.
  virtual bool msr_passes(u32 index) const = 0;
  /// A PAUSE at CPL 0 is executed: does it exit?
  virtual bool pause_loop_is_long(const Op* op) = 0;
  virtual u64 tsc() const = 0;
  /// The source of RDRAND and RDSEED: seeded under the deterministic clock, the host's otherwise.
  virtual u64 random() = 0;
  /// What this processor does not implement, by instruction and set.
  virtual void count_unimplemented(ZydisMnemonic what, ZydisISASet set, u64 rip) = 0;
  /// Who is told of every ENCLS; empty if nobody.
  virtual const std::function<void(u32 leaf, u64 rcx, EnclsResult)>& encls_observer() const = 0;

 protected:
  ~Surroundings() = default;
};

}  // namespace cloister::silicon
