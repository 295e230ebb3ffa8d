// Fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2B).
#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

namespace f = arch::rflags;

namespace {

constexpr u32 flat_code = 0xb | attr::s | attr::present | attr::g;
constexpr u32 flat_data = 0x3 | attr::s | attr::present | attr::g | attr::db;

Segment flat(u32 selector, u32 attributes, unsigned dpl) {
  return {static_cast<u16>(selector), 0, 0xffff'ffff, attributes | (dpl << 5)};
}

void enter_flat(Cpu& cpu, u32 cs, u32 ss, u32 code_size, unsigned cpl) {
  cpu.seg[arch::seg_cs] = flat(cs, flat_code | code_size, cpl);
  cpu.seg[arch::seg_ss] = flat(ss, flat_data, cpl);
  cpu.cpl = static_cast<u8>(cpl);
  update_mode(cpu);
}

void done(Cpu& cpu, const Op* op) {
  cpu.at = op + 1;
  cpu.leave = Leave::jump;
}

void op_syscall(Cpu& cpu, const Op* op) {
  if (!cpu.code64 || (cpu.efer & arch::efer::sce) == 0) return raise_ud(cpu, op);
  cpu.gpr[arch::rcx] = cpu.rip_after(op);
  cpu.gpr[arch::r11] = cpu.rflags() & ~f::rf;
  cpu.rip = cpu.lstar;
  set_rflags(cpu, (cpu.rflags() & ~f::rf & ~cpu.fmask) | f::fixed1);
  const u32 cs = static_cast<u32>(cpu.star >> 32) & 0xfffc;
  enter_flat(cpu, cs, (cpu.star >> 32 & 0xffff) + 8, attr::l, 0);
  cpu.no_step = (cpu.system_flags & f::tf) == 0;
  return done(cpu, op);
}

/// aux: operand size in bytes.
void op_sysret(Cpu& cpu, const Op* op) {
  if (!cpu.code64 || (cpu.efer & arch::efer::sce) == 0) return raise_ud(cpu, op);
  if (!privileged(cpu, op)) return;
  const bool to64 = op->aux == 8;
  if (to64 && !is_canonical(cpu.gpr[arch::rcx])) return raise_gp(cpu, op);
  cpu.rip = to64 ? cpu.gpr[arch::rcx] : static_cast<u32>(cpu.gpr[arch::rcx]);
  set_rflags(cpu, (cpu.gpr[arch::r11] & 0x3c'7fd7) | f::fixed1);
  const u32 base = static_cast<u32>(cpu.star >> 48);
  enter_flat(cpu, (to64 ? base + 16 : base) | 3, (base + 8) | 3, to64 ? attr::l : attr::db, 3);
  return done(cpu, op);
}

void op_sysenter(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || (cpu.sysenter_cs & 0xfffc) == 0) return raise_gp(cpu, op);
  const bool wide = cpu.long_mode();
  cpu.system_flags &= ~(f::vm | f::if_ | f::rf);
  cpu.gpr[arch::rsp] = wide ? cpu.sysenter_esp : static_cast<u32>(cpu.sysenter_esp);
  cpu.rip = wide ? cpu.sysenter_eip : static_cast<u32>(cpu.sysenter_eip);
  const u32 cs = static_cast<u32>(cpu.sysenter_cs) & 0xfffc;
  enter_flat(cpu, cs, cs + 8, wide ? attr::l : attr::db, 0);
  return done(cpu, op);
}

void op_sysexit(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || (cpu.sysenter_cs & 0xfffc) == 0) return raise_gp(cpu, op);
  if (!privileged(cpu, op)) return;
  const bool to64 = op->aux == 8;
  const u64 rip = cpu.gpr[arch::rdx], rsp = cpu.gpr[arch::rcx];
  if (to64 && (!is_canonical(rip) || !is_canonical(rsp))) return raise_gp(cpu, op);
  cpu.rip = to64 ? rip : static_cast<u32>(rip);
  cpu.gpr[arch::rsp] = to64 ? rsp : static_cast<u32>(rsp);
  const u32 cs = (static_cast<u32>(cpu.sysenter_cs) & 0xfffc) + (to64 ? 32 : 16);
  enter_flat(cpu, cs | 3, (cs + 8) | 3, to64 ? attr::l : attr::db, 3);
  return done(cpu, op);
}

template <Handler handler>
Selected select(const Insn& insn, Op& op) {
  op.aux = (insn.info.attributes & ZYDIS_ATTRIB_HAS_REX) != 0 && insn.info.raw.rex.W != 0 ? 8 : 4;
  return {handler, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_SYSCALL, select<op_syscall>},
    {ZYDIS_MNEMONIC_SYSRET, select<op_sysret>},
    {ZYDIS_MNEMONIC_SYSENTER, select<op_sysenter>},
    {ZYDIS_MNEMONIC_SYSEXIT, select<op_sysexit>},
};

}  // namespace

std::span<const Row> syscall_rows() { return rows; }

}  // namespace cloister::silicon
