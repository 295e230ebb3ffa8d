// The hypercall number space (docs/hypercalls.md).
#pragma once

#include "arch/types.hpp"

namespace cloister::hypervisor {

inline constexpr u64 hypercall_first = 0x434c'0000, hypercall_last = 0x434c'ffff;
enum class Hypercall : u64 {
  version = hypercall_first,
  epc_target = hypercall_first + 0x10,
  epc_give,
  epc_take,
};
/// What `version` answers.
inline constexpr u64 hypercall_interface = 2;

/// A result that is an error: -4095 to -1 in two's complement.
enum class HypercallError : i64 {
  fault = -14,      ///< the list is not in RAM
  no_device = -19,  ///< the domain has no EPC
  invalid = -22,
  unknown = -38,  ///< no such hypercall
};
constexpr u64 result_of(HypercallError error) { return static_cast<u64>(error); }

}  // namespace cloister::hypervisor
