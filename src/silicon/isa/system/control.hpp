// Writes to CR0, CR3 and CR4 as guest software makes them: false is #GP(0), with nothing changed.
#pragma once

#include "silicon/isa/system/rows.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

bool write_cr0(Cpu& cpu, u64 value);
bool write_cr3(Cpu& cpu, u64 value);
bool write_cr4(Cpu& cpu, u64 value);

/// The MSRs that the silicon keeps. nullopt, false: no such MSR, or a value that raises #GP(0).
std::optional<u64> read_msr(const Cpu& cpu, u32 index);
bool write_msr(Cpu& cpu, u32 index, u64 value);

}  // namespace cloister::silicon
