// The hypercall number space (docs/hypercalls.md).
#pragma once

#include "arch/types.hpp"

namespace cloister::hypervisor {

inline constexpr u64 hypercall_first = 0x434c'0000, hypercall_last = 0x434c'ffff;
inline constexpr u64 hypercall_version = hypercall_first;
inline constexpr u64 hypercall_interface = 1;
/// -38 in two's complement: no such hypercall.
inline constexpr u64 hypercall_unknown = static_cast<u64>(-38);

/// The result for a caller at CPL 0.
constexpr u64 hypercall(u64 number) { return number == hypercall_version ? hypercall_interface : hypercall_unknown; }

}  // namespace cloister::hypervisor
