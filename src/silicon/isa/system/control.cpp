// Control and debug registers: MOV to and from CRn and DRn, LMSW, SMSW, CLTS, and the TLB's instructions (SDM vol. 2;
// vol. 3A, 2.5 and 4.10.4; vol. 3B, 18.2).
#include "silicon/isa/system/control.hpp"

#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

namespace c0 = arch::cr0;
namespace c4 = arch::cr4;

namespace {

/// CR4 bits of features that CPUID reports.
constexpr u64 cr4_supported = c4::tsd | c4::de | c4::pse | c4::pae | c4::pge | c4::pce | c4::osfxsr | c4::osxmmexcpt |
                              c4::umip | c4::fsgsbase | c4::pcide | c4::osxsave | c4::smep | c4::smap;
/// A change of these makes cached translations wrong (SDM vol. 3A, 4.10.4.1).
constexpr u64 cr4_flushing = c4::pse | c4::pae | c4::pge | c4::pcide | c4::smep;
constexpr u64 cr3_reserved = ~((u64{1} << physical_address_bits) - 1);
constexpr u64 cr3_keep = u64{1} << 63;

u16 pcid_of(const Cpu& cpu) { return (cpu.cr4 & c4::pcide) != 0 ? static_cast<u16>(cpu.cr3 & 0xfff) : u16{0}; }

}  // namespace

bool write_cr0(Cpu& cpu, u64 value) {
  if ((value >> 32) != 0) return false;
  value = (value & c0::defined) | c0::et;
  const bool pg = (value & c0::pg) != 0, was_pg = (cpu.cr0 & c0::pg) != 0;
  if (pg && (value & c0::pe) == 0) return false;
  if ((value & c0::nw) != 0 && (value & c0::cd) == 0) return false;
  if (pg && !was_pg && (cpu.efer & arch::efer::lme) != 0) {
    const u32 tr = cpu.tr.attributes & attr::type;
    const bool tss16 = tr == system_type::tss16 || tr == system_type::tss16_busy;
    const bool l = (cpu.seg[arch::seg_cs].attributes & attr::l) != 0;
    if ((cpu.cr4 & c4::pae) == 0 || l || (tss16 && (cpu.tr.attributes & attr::unusable) == 0)) return false;
    cpu.efer |= arch::efer::lma;
  }
  if (!pg && was_pg) {
    if (cpu.code64 || (cpu.cr4 & c4::pcide) != 0) return false;
    cpu.efer &= ~arch::efer::lma;
  }
  const u64 changed = cpu.cr0 ^ value;
  if ((value & c0::pe) != 0 && (cpu.cr0 & c0::pe) == 0) cpu.cpl = 0;
  cpu.cr0 = value;
  update_mode(cpu);
  if ((changed & (c0::pg | c0::wp | c0::pe)) != 0) cpu.mmu->flush_all();
  return true;
}

bool write_cr3(Cpu& cpu, u64 value) {
  const bool pcide = (cpu.cr4 & c4::pcide) != 0;
  const bool keep = pcide && (value & cr3_keep) != 0;
  if (pcide) value &= ~cr3_keep;
  if ((value & cr3_reserved) != 0) return false;
  cpu.cr3 = value;
  cpu.mmu->switch_space(pcid_of(cpu), keep);
  return true;
}

bool write_cr4(Cpu& cpu, u64 value) {
  if ((value & ~cr4_supported) != 0) return false;
  if (cpu.long_mode() && (value & c4::pae) == 0) return false;
  const bool sets_pcide = (value & c4::pcide) != 0 && (cpu.cr4 & c4::pcide) == 0;
  if (sets_pcide && (!cpu.long_mode() || (cpu.cr3 & 0xfff) != 0)) return false;
  const u64 changed = cpu.cr4 ^ value;
  cpu.cr4 = value;
  update_mode(cpu);
  if ((changed & cr4_flushing) != 0) cpu.mmu->flush_all();
  return true;
}

namespace {

// ------------------------------------------------------------------------------------------------ MOV CRn

void cr8_exit(Cpu& cpu, const Op* op, bool from, u8 gpr) {
  cpu.exit = {};
  cpu.exit.reason = ExitReason::cr_access;
  cpu.exit.qualification = CrQualification{8, from, static_cast<arch::Gpr>(gpr)}.encode();
  return vm_exit(cpu, op);
}

void op_mov_from_cr(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  u64 value = 0;
  switch (op->src) {
    case 0: value = cpu.cr0; break;
    case 2: value = cpu.cr2; break;
    case 3: value = cpu.cr3; break;
    case 4: value = cpu.cr4; break;
    case 8: return cr8_exit(cpu, op, true, op->dst);
    default: return raise_ud(cpu, op);
  }
  cpu.gpr[op->dst] = cpu.code64 ? value : static_cast<u32>(value);
  CLOISTER_NEXT(cpu, op);
}

void op_mov_to_cr(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const u64 value = cpu.code64 ? cpu.gpr[op->src] : static_cast<u32>(cpu.gpr[op->src]);
  bool ok = true;
  switch (op->dst) {
    case 0: ok = write_cr0(cpu, value); break;
    case 2: cpu.cr2 = value; break;
    case 3: ok = write_cr3(cpu, value); break;
    case 4: ok = write_cr4(cpu, value); break;
    case 8:
      if (value > 15) return raise_gp(cpu, op);
      return cr8_exit(cpu, op, false, op->src);
    default: return raise_ud(cpu, op);
  }
  if (!ok) return raise_gp(cpu, op);
  return leave_after(cpu, op);
}

void op_lmsw(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  u64 value;
  if (!system_read_rm(cpu, op, op->src, 2, value)) return;
  // Bits 3:0 only; PE can be set but not cleared.
  const u64 low = (value & 0xf) | (cpu.cr0 & c0::pe);
  if (!write_cr0(cpu, (cpu.cr0 & ~u64{0xf}) | low)) return raise_gp(cpu, op);
  return leave_after(cpu, op);
}

void op_smsw(Cpu& cpu, const Op* op) {
  if ((cpu.cr4 & c4::umip) != 0 && cpu.cpl != 0) return raise_gp(cpu, op);
  if (!system_write_rm16(cpu, op, cpu.cr0)) return;
  CLOISTER_NEXT(cpu, op);
}

void op_clts(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  write_cr0(cpu, cpu.cr0 & ~c0::ts);
  return leave_after(cpu, op);
}

// ------------------------------------------------------------------------------------------------ MOV DRn

/// Checks that come before every access; false: it faulted.
bool debug_access(Cpu& cpu, const Op* op, unsigned n) {
  if ((n == 4 || n == 5) && (cpu.cr4 & c4::de) != 0) {
    raise_ud(cpu, op);
    return false;
  }
  if (!privileged(cpu, op)) return false;
  if ((cpu.dr7 & arch::dr7::gd) != 0) {
    cpu.dr6 |= arch::dr6::bd;
    cpu.dr7 &= ~arch::dr7::gd;
    raise(cpu, op, {arch::vector::db, false, 0, 0});
    return false;
  }
  return true;
}

void op_mov_from_dr(Cpu& cpu, const Op* op) {
  if (!debug_access(cpu, op, op->src)) return;
  const u64 value = op->src < 4 ? cpu.dr[op->src] : (op->src & 1) == 0 ? cpu.dr6 : cpu.dr7;
  cpu.gpr[op->dst] = cpu.code64 ? value : static_cast<u32>(value);
  CLOISTER_NEXT(cpu, op);
}

void op_mov_to_dr(Cpu& cpu, const Op* op) {
  if (!debug_access(cpu, op, op->dst)) return;
  const u64 value = cpu.code64 ? cpu.gpr[op->src] : static_cast<u32>(cpu.gpr[op->src]);
  if (op->dst < 4) {
    cpu.dr[op->dst] = value;
  } else {
    if ((value >> 32) != 0) return raise_gp(cpu, op);
    constexpr u64 dr6_writable = 0xf | arch::dr6::bd | arch::dr6::bs | arch::dr6::bt;
    constexpr u64 dr7_fixed0 = 0xd800;
    if ((op->dst & 1) == 0) {
      cpu.dr6 = (value & dr6_writable) | arch::dr6::fixed1;
    } else {
      cpu.dr7 = (value & ~dr7_fixed0) | arch::dr7::fixed1;
    }
  }
  cpu.mmu->update_context();
  return leave_after(cpu, op);
}

// ------------------------------------------------------------------------------------------------ translations

void op_invlpg(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const u64 offset = effective_address(cpu, op, static_cast<Mem>(op->aux & 3));
  const u64 linear = cpu.code64 ? offset + cpu.seg_base[op->seg] : static_cast<u32>(offset + cpu.seg_base[op->seg]);
  if (is_canonical(linear)) cpu.mmu->flush_page(linear);
  return leave_after(cpu, op);
}

void op_invpcid(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const u64 type = cpu.code64 ? cpu.gpr[op->dst] : static_cast<u32>(cpu.gpr[op->dst]);
  u64 linear;
  u64 descriptor[2];
  if (!system_linear(cpu, op, 16, Access::read, linear) || !load_slow(cpu, op, linear, descriptor, 16)) return;
  const u64 pcid = descriptor[0] & 0xfff;
  if (type > 3) return raise_gp(cpu, op);
  if ((descriptor[0] >> 12) != 0) return raise_gp(cpu, op);
  if (type < 2 && (cpu.cr4 & c4::pcide) == 0 && pcid != 0) return raise_gp(cpu, op);
  if (type == 0 && !is_canonical(descriptor[1])) return raise_gp(cpu, op);
  switch (type) {
    case 0:
      if (pcid == pcid_of(cpu)) {
        cpu.mmu->flush_page(descriptor[1]);
      } else {
        cpu.mmu->flush_pcid(static_cast<u16>(pcid));
      }
      break;
    case 1: cpu.mmu->flush_pcid(static_cast<u16>(pcid)); break;
    default: cpu.mmu->flush_all(); break;
  }
  return leave_after(cpu, op);
}

template <ExitReason reason>
void op_cache_exit(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  cpu.exit = {};
  cpu.exit.reason = reason;
  return vm_exit(cpu, op);
}

template <Handler handler, bool ends>
Selected select_rm(const Insn& insn, Op& op) {
  op.aux = system_aux(insn, 0);
  if (insn.is_reg(0)) op.src = op.dst = insn.reg(0);
  return {handler, ends};
}
template <Handler handler>
Selected select_plain(const Insn&, Op&) {
  return {handler, true};
}
Selected select_invpcid(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.aux = system_aux(insn, 1);
  return {op_invpcid, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_LMSW, select_rm<op_lmsw, true>},
    {ZYDIS_MNEMONIC_SMSW, select_rm<op_smsw, false>},
    {ZYDIS_MNEMONIC_CLTS, select_plain<op_clts>},
    {ZYDIS_MNEMONIC_INVLPG, select_rm<op_invlpg, true>},
    {ZYDIS_MNEMONIC_INVPCID, select_invpcid},
    {ZYDIS_MNEMONIC_INVD, select_plain<op_cache_exit<ExitReason::invd>>},
    {ZYDIS_MNEMONIC_WBINVD, select_plain<op_cache_exit<ExitReason::wbinvd>>},
};

}  // namespace

std::span<const Row> control_rows() { return rows; }

Selected select_mov_control(const Insn& insn, Op& op) {
  const bool to = insn.reg_class(0) == ZYDIS_REGCLASS_CONTROL || insn.reg_class(0) == ZYDIS_REGCLASS_DEBUG;
  const bool debug = insn.reg_class(to ? 0 : 1) == ZYDIS_REGCLASS_DEBUG;
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  if (debug && (to ? op.dst : op.src) > 7) return {op_undefined, true};
  if (to) return {debug ? op_mov_to_dr : op_mov_to_cr, true};
  return {debug ? op_mov_from_dr : op_mov_from_cr, false};
}

}  // namespace cloister::silicon
