// VEX-encoded instructions on the registers as a whole: VZEROUPPER, VZEROALL, VLDMXCSR, VSTMXCSR (SDM vol. 2).
#include "silicon/isa/avx/avx_rows.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {
namespace {

/// Outside 64-bit mode the upper eight registers stay.
unsigned visible_registers(const Cpu& cpu) { return cpu.code64 ? 16 : 8; }

void vzeroupper(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  std::fill_n(cpu.fpu.upper.begin(), visible_registers(cpu), Xmm{});
  CLOISTER_NEXT(cpu, op);
}

void vzeroall(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  std::fill_n(cpu.fpu.xmm.begin(), visible_registers(cpu), Xmm{});
  std::fill_n(cpu.fpu.upper.begin(), visible_registers(cpu), Xmm{});
  CLOISTER_NEXT(cpu, op);
}

void vldmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    u32 value;
    if (!read_operand<From::memory>(cpu, op, value)) return;
    if ((value & ~mxcsr::defined) != 0) return raise_gp(cpu, op);
    set_guest_mxcsr(cpu, value);
  }
  CLOISTER_NEXT(cpu, op);
}

void vstmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  if (!write_operand<From::memory>(cpu, op, guest_mxcsr(cpu))) return;
  CLOISTER_NEXT(cpu, op);
}

template <Handler handler>
Selected select_state(const Insn& insn, Op& op) {
  if (!is_vex(insn) || !host_runs(insn)) return {};
  note_address(insn, op);
  if (insn.visible() == 0) return {.handler = handler, .form = {.operands = Operands::none}};
  return {handler};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_VZEROUPPER, select_state<&vzeroupper>},
    {ZYDIS_MNEMONIC_VZEROALL, select_state<&vzeroall>},
    {ZYDIS_MNEMONIC_VLDMXCSR, select_state<&vldmxcsr>},
    {ZYDIS_MNEMONIC_VSTMXCSR, select_state<&vstmxcsr>},
};

}  // namespace

std::span<const Row> avx_state_rows() { return rows; }

}  // namespace cloister::silicon
