// Debug registers (SDM vol. 3B, 18.2.4 to 18.2.5).
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

namespace {
/// Hits of the breakpoints whose type is in `types` (a bit a type). A matching breakpoint sets its B bit whether or not
/// it is enabled, as long as one that is enabled matches too (18.2.3).
u64 hits(const Cpu& cpu, u64 linear, unsigned bytes, unsigned types) {
  u64 all = 0;
  bool enabled = false;
  for (unsigned n = 0; n < 4; ++n) {
    if (((types >> breakpoint_type(cpu.dr7, n)) & 1) == 0) continue;
    const u64 length = breakpoint_bytes(cpu.dr7, n);
    const u64 start = cpu.dr[n] & ~(length - 1);
    if (start < linear + bytes && linear < start + length) {
      all |= u64{1} << n;
      enabled = enabled || breakpoint_enabled(cpu.dr7, n);
    }
  }
  return enabled ? all : 0;
}
}  // namespace

void note_data_access(Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  if ((cpu.dr7 & arch::dr7::enable_mask) == 0) return;
  // After an opt-out entry data breakpoints on ELRANGE are suppressed, code breakpoints everywhere (SDM vol. 3D, 40.3).
  if (cpu.enclave.active && cpu.enclave.opt_out && cpu.enclave.in_elrange(linear)) return;
  cpu.pending_debug |= hits(cpu, linear, bytes, access == Access::write ? 0b1010 : 0b1000);
}

void note_io_access(Cpu& cpu, u16 port, unsigned bytes) {
  if ((cpu.dr7 & arch::dr7::enable_mask) == 0 || (cpu.cr4 & arch::cr4::de) == 0) return;
  cpu.pending_debug |= hits(cpu, port, bytes, 0b0100);
}

u64 code_breakpoints(const Cpu& cpu, u64 linear) {
  if ((cpu.dr7 & arch::dr7::enable_mask) == 0 || (cpu.enclave.active && cpu.enclave.opt_out)) return 0;
  return hits(cpu, linear, 1, 0b0001);
}

}  // namespace cloister::silicon
