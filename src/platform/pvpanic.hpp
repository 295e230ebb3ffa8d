// pvpanic as QEMU has it (docs/specs/pvpanic): a port of one byte, to which the guest's kernel says that it has
// panicked. ACPI's device QEMU0001. Reading says which events are understood.
#pragma once

#include "arch/types.hpp"

namespace cloister::platform {

inline constexpr u16 pvpanic_port = 0x505;

enum PvpanicEvent : u8 {
  pvpanic_panicked = 1 << 0,
  pvpanic_crash_loaded = 1 << 1,  ///< it panicked, and goes on with a kernel that it keeps for this (kdump)
};
inline constexpr u8 pvpanic_events = pvpanic_panicked | pvpanic_crash_loaded;

}  // namespace cloister::platform
