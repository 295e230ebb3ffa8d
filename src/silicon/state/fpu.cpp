// Gates and MXCSR: see fpu.hpp. Which exceptions an operation reports: SDM vol. 1, 11.5.2 and 11.5.3.
#include "silicon/state/fpu.hpp"

#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {
namespace {

u32 read_host() {
  u32 value;
  asm volatile("stmxcsr %0" : "=m"(value) : : "memory");
  return value;
}

void write_host(u32 value) { asm volatile("ldmxcsr %0" : : "m"(value) : "memory"); }

/// What the host runs with for the guest: flags clear, everything masked. FTZ has no effect while underflow is unmasked
/// (SDM vol. 1, 10.2.3.3).
u32 host_value(u32 guest) {
  u32 value = (guest & (mxcsr::rounding | mxcsr::daz)) | mxcsr::masks;
  if ((guest & mxcsr::um) != 0) value |= guest & mxcsr::ftz;
  return value;
}

void note_masks(FpuState& fpu) { fpu.sse_unmasked = (fpu.mxcsr & mxcsr::masks) != mxcsr::masks; }

}  // namespace

void update_fpu_blocks(Cpu& cpu) {
  namespace cr0 = arch::cr0;
  cpu.fpu.x87_blocked = (cpu.cr0 & (cr0::em | cr0::ts)) != 0;
  cpu.fpu.sse_blocked = cpu.fpu.x87_blocked || (cpu.cr4 & arch::cr4::osfxsr) == 0;
  cpu.fpu.avx_blocked = (cpu.cr0 & cr0::ts) != 0 || !avx_enabled(cpu);
}

bool avx_enabled(const Cpu& cpu) {
  constexpr u64 both = 6;  // SSE and AVX
  return (cpu.system_flags & arch::rflags::vm) == 0 && (cpu.cr4 & arch::cr4::osxsave) != 0 && (cpu.xcr0 & both) == both;
}

void enter_guest_fpu(Cpu& cpu) {
  FpuState& fpu = cpu.fpu;
  fpu.host_mxcsr = read_host();
  note_masks(fpu);
  write_host(host_value(fpu.mxcsr));
  fpu.mxcsr_live = true;
}

void leave_guest_fpu(Cpu& cpu) {
  FpuState& fpu = cpu.fpu;
  fpu.mxcsr = guest_mxcsr(cpu);
  fpu.mxcsr_live = false;
  write_host(fpu.host_mxcsr);
}

u32 guest_mxcsr(const Cpu& cpu) {
  return cpu.fpu.mxcsr_live ? cpu.fpu.mxcsr | (read_host() & mxcsr::flags) : cpu.fpu.mxcsr;
}

void set_guest_mxcsr(Cpu& cpu, u32 value) {
  cpu.fpu.mxcsr = value;
  note_masks(cpu.fpu);
  if (cpu.fpu.mxcsr_live) write_host(host_value(value));
}

void sse_unavailable(Cpu& cpu, const Op* op) {
  if ((cpu.cr0 & arch::cr0::em) != 0 || (cpu.cr4 & arch::cr4::osfxsr) == 0) return raise_ud(cpu, op);
  raise_nm(cpu, op);
}

void avx_unavailable(Cpu& cpu, const Op* op) {
  if (!avx_enabled(cpu)) return raise_ud(cpu, op);
  raise_nm(cpu, op);
}

u32 take_sse_flags(Cpu& cpu) {
  const u32 flags = read_host() & mxcsr::flags;
  if (flags != 0) write_host(host_value(cpu.fpu.mxcsr));
  return flags;
}

bool sse_report(Cpu& cpu, const Op* op, u32 flags) {
  FpuState& fpu = cpu.fpu;
  const u32 unmasked = ~(fpu.mxcsr >> 7) & mxcsr::flags;
  // Invalid, divide-by-zero and denormal are found before the result is computed: then there is no overflow, underflow
  // or inexact result.
  constexpr u32 before = mxcsr::ie | mxcsr::ze | mxcsr::de;
  if ((flags & unmasked & before) != 0) flags &= before;
  fpu.mxcsr |= flags;
  if ((flags & unmasked) == 0) return false;
  if ((cpu.cr4 & arch::cr4::osxmmexcpt) != 0) {
    raise(cpu, op, {arch::vector::xm, false, 0});
  } else {
    raise_ud(cpu, op);
  }
  return true;
}

bool sse_exception(Cpu& cpu, const Op* op) { return sse_report(cpu, op, take_sse_flags(cpu)); }

}  // namespace cloister::silicon
