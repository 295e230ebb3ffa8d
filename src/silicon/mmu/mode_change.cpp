// Derived state: see mode_change.hpp.
#include "silicon/mmu/mode_change.hpp"

#include "silicon/mmu/mmu.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

void update_mode(Cpu& cpu) {
  cpu.code64 = cpu.long_mode() && (cpu.seg[arch::seg_cs].attributes & attr::l) != 0;
  for (unsigned i = 0; i < arch::seg_count; ++i) {
    const bool used = !cpu.code64 || i == arch::seg_fs || i == arch::seg_gs;
    cpu.seg_base[i] = used ? cpu.seg[i].base : 0;
  }
  update_fpu_blocks(cpu);
  cpu.mmu->update_context();
}

void set_rflags(Cpu& cpu, u64 value) {
  // TF stays clear after an opt-out entry (SDM vol. 3D, 40.2.2).
  if (cpu.enclave.active && cpu.enclave.opt_out) value &= ~arch::rflags::tf;
  cpu.flags.set(value);
  cpu.df = (value & arch::rflags::df) != 0;
  const u64 old = cpu.system_flags;
  cpu.system_flags =
      (value & arch::rflags::defined & ~(arch::rflags::status | arch::rflags::df)) | arch::rflags::fixed1;
  if (((old ^ cpu.system_flags) & arch::rflags::ac) != 0) cpu.mmu->update_context();
}

}  // namespace cloister::silicon
