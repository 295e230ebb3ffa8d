// Guests of a few instructions, in 32-bit protected mode as PVH enters a kernel, loaded at 1 MiB.
#pragma once

#include <span>

#include "hypervisor/domain.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {

/// The code between two labels of this program's read-only data.
#define CLOISTER_GUEST(name)                                                                        \
  extern "C" const cloister::u8 guest_##name[], guest_##name##_end[]; /* NOLINT: assembly labels */ \
  inline std::span<const cloister::u8> name() { return {guest_##name, guest_##name##_end}; }

inline constexpr u32 guest_base = 0x10'0000;

/// A domain of 16 MiB that starts with `code`.
inline DomainSpec spec_of(std::span<const u8> code, silicon::ClockMode clock = silicon::ClockMode::deterministic) {
  auto kernel = std::make_shared<platform::KernelImage>();
  kernel->elf.assign(code.begin(), code.end());
  kernel->entry = guest_base;
  kernel->segments.push_back(
      {.offset = 0, .file_bytes = code.size(), .physical = guest_base, .memory_bytes = 0x2'0000});
  DomainSpec spec;
  spec.name = "test";
  spec.map = *platform::make_memory_map(u64{16} << 20, 0, 40);
  spec.kernel = kernel;
  spec.clock = clock;
  spec.cpuid.set(0, 0, {0x16, 0, 0, 0});
  spec.cpuid.set(1, 0, {0x1234, 0, 1u << 24, 1u << 9 | 1u << 12});
  return spec;
}

}  // namespace cloister::hypervisor
