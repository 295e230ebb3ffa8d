// How a leaf of ENCLS that the hypervisor runs for a guest ends.
#pragma once

#include <variant>

#include "hypervisor/exits/encls_operands.hpp"

namespace cloister::hypervisor::exits {

struct Again {};      ///< it has not run: the guest executes it once more
struct Unchanged {};  ///< it succeeded, and returns no code: RAX and the flags are as before
struct Code {         ///< in RAX; CF and ZF say what kind of one
  arch::SgxError error = arch::SgxError::success;
};
using LeafEnd = std::variant<Again, Unchanged, Code, Fault, Stop>;

/// Of operands that have failed.
inline LeafEnd end_of(const EnclsOperands& operands) {
  if (operands.stop()) return *operands.stop();
  return *operands.fault();
}

}  // namespace cloister::hypervisor::exits
