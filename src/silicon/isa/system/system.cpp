// Instructions that a hypervisor sees (CPUID, RDMSR, WRMSR, HLT, I/O, VMCALL, XSETBV) and the small ones of operating
// systems (CLI, STI, CLAC, STAC, RDTSC, RDPMC) (SDM vol. 2; exits: vol. 3C, 26.1).
#include "silicon/isa/stack.hpp"
#include "silicon/isa/system/control.hpp"
#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

namespace f = arch::rflags;

namespace {

void exit_with(Cpu& cpu, const Op* op, ExitReason reason, u64 qualification = 0) {
  cpu.exit = {};
  cpu.exit.reason = reason;
  cpu.exit.qualification = qualification;
  return vm_exit(cpu, op);
}

void op_cpuid(Cpu& cpu, const Op* op) { return exit_with(cpu, op, ExitReason::cpuid); }
void op_hlt(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  return exit_with(cpu, op, ExitReason::hlt);
}
void op_vmcall(Cpu& cpu, const Op* op) { return exit_with(cpu, op, ExitReason::vmcall); }
void op_xsetbv(Cpu& cpu, const Op* op) {
  if ((cpu.cr4 & arch::cr4::osxsave) == 0) return raise_ud(cpu, op);
  if (!privileged(cpu, op)) return;
  return exit_with(cpu, op, ExitReason::xsetbv);
}

// ------------------------------------------------------------------------------------------------ MSRs

void op_rdmsr(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const u32 index = cpu.reg<u32>(arch::rcx);
  if (!cpu.vcpu->msr_passes(index)) return exit_with(cpu, op, ExitReason::rdmsr);
  const auto value = read_msr(cpu, index);
  if (!value) return raise_gp(cpu, op);
  cpu.gpr[arch::rax] = static_cast<u32>(*value);
  cpu.gpr[arch::rdx] = *value >> 32;
  CLOISTER_NEXT(cpu, op);
}

void op_wrmsr(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const u32 index = cpu.reg<u32>(arch::rcx);
  if (!cpu.vcpu->msr_passes(index)) return exit_with(cpu, op, ExitReason::wrmsr);
  if (!write_msr(cpu, index, cpu.gpr[arch::rdx] << 32 | cpu.reg<u32>(arch::rax))) return raise_gp(cpu, op);
  return leave_after(cpu, op);
}

// ------------------------------------------------------------------------------------------------ I/O

/// CPL > IOPL: the TSS's I/O permission bitmap decides (SDM vol. 1, 19.5.2).
bool io_allowed(Cpu& cpu, const Op* op, u16 port, unsigned bytes) {
  if (!cpu.protected_mode() || cpu.cpl <= cpu.iopl()) return true;
  const u32 type = cpu.tr.attributes & attr::type;
  const bool tss32 =
      (type == system_type::tss || type == system_type::tss_busy) && (cpu.tr.attributes & attr::unusable) == 0;
  Miss m;
  u16 base = 0;
  constexpr u32 map_base_offset = 102;
  if (!tss32 || cpu.tr.limit < map_base_offset + 1) {
    raise_gp(cpu, op);
    return false;
  }
  if (!system_read(cpu, cpu.tr.base + map_base_offset, &base, 2, m)) {
    raise_miss(cpu, op, m);
    return false;
  }
  const u32 at = u32{base} + port / 8;
  u16 bits = 0;
  if (at + 1 > cpu.tr.limit) {
    raise_gp(cpu, op);
    return false;
  }
  if (!system_read(cpu, cpu.tr.base + at, &bits, 2, m)) {
    raise_miss(cpu, op, m);
    return false;
  }
  const unsigned mask = ((1u << bytes) - 1) << (port % 8);
  if ((bits & mask) == 0) return true;
  raise_gp(cpu, op);
  return false;
}

/// dst: bytes; imm: port, or aux = 1: DX.
template <bool in>
void op_io(Cpu& cpu, const Op* op) {
  const u16 port = op->aux != 0 ? cpu.reg<u16>(arch::rdx) : static_cast<u16>(op->imm);
  if (!io_allowed(cpu, op, port, op->dst)) return;
  note_io_access(cpu, port, op->dst);
  const u64 immediate = op->aux != 0 ? 0 : u64{1} << 6;
  return exit_with(cpu, op, ExitReason::io, IoQualification{port, op->dst, in, false, false}.encode() | immediate);
}

template <bool in>
Selected select_io(const Insn& insn, Op& op) {
  const unsigned port = in ? 1 : 0;
  op.dst = static_cast<u8>(insn.bits(in ? 0 : 1) / 8);
  op.aux = insn.is_imm(port) ? 0 : 1;
  if (insn.is_imm(port)) op.imm = insn.imm(port) & 0xff;
  return {op_io<in>, true};
}

/// INS, OUTS: dst bytes; src: address bytes; imm: REP; seg: of the memory operand.
template <bool in>
void op_string_io(Cpu& cpu, const Op* op) {
  const u16 port = cpu.reg<u16>(arch::rdx);
  if (!io_allowed(cpu, op, port, op->dst)) return;
  const auto sized = [&](u64 v) { return op->src == 8 ? v : op->src == 4 ? static_cast<u32>(v) : static_cast<u16>(v); };
  if (op->imm != 0 && sized(cpu.gpr[arch::rcx]) == 0) return leave_after(cpu, op);
  const u64 offset = sized(cpu.gpr[in ? arch::rdi : arch::rsi]);
  u64 linear = offset + cpu.seg_base[op->seg];
  if (!cpu.code64) {
    const Maybe m =
        linear_in_segment(cpu, op, op->seg, static_cast<u32>(offset), op->dst, in ? Access::write : Access::read);
    if (!m.ok) return;
    linear = m.value;
  }
  note_io_access(cpu, port, op->dst);
  cpu.exit = {};
  cpu.exit.reason = ExitReason::io;
  cpu.exit.qualification = IoQualification{port, op->dst, in, true, op->imm != 0}.encode();
  cpu.exit.linear = Gva{linear};
  return vm_exit(cpu, op);
}

template <bool in, unsigned bytes>
Selected select_string_io(const Insn& insn, Op& op) {
  op.dst = bytes;
  op.src = static_cast<u8>(insn.info.address_width / 8);
  op.imm = insn.rep() || insn.repne() ? 1 : 0;
  op.seg = in ? static_cast<u8>(arch::seg_es) : source_segment(insn);
  return {op_string_io<in>, true};
}

// ------------------------------------------------------------------------------------------------ flags

void op_cli(Cpu& cpu, const Op* op) {
  if (cpu.protected_mode() && cpu.cpl > cpu.iopl()) return raise_gp(cpu, op);
  cpu.system_flags &= ~f::if_;
  CLOISTER_NEXT(cpu, op);
}

void op_sti(Cpu& cpu, const Op* op) {
  if (cpu.protected_mode() && cpu.cpl > cpu.iopl()) return raise_gp(cpu, op);
  if ((cpu.system_flags & f::if_) != 0) CLOISTER_NEXT(cpu, op);
  cpu.system_flags |= f::if_;
  // Nobody waits for the window: the next instruction of the block needs no shadow, as no boundary is looked at before
  // it.
  if (!cpu.window_wanted && op[1].length != 0) CLOISTER_NEXT(cpu, op);
  cpu.shadow = true;
  return leave_after(cpu, op);
}

template <bool set>
void op_ac(Cpu& cpu, const Op* op) {
  if (cpu.cpl != 0 || !cpu.protected_mode()) return raise_ud(cpu, op);
  cpu.system_flags = set ? cpu.system_flags | f::ac : cpu.system_flags & ~f::ac;
  cpu.mmu->update_context();
  CLOISTER_NEXT(cpu, op);
}

// ------------------------------------------------------------------------------------------------ counters

/// The TSC as of this instruction.
u64 read_tsc(Cpu& cpu, const Op* op) {
  cpu.at = op;
  const u64 tsc = cpu.vcpu->tsc() + cpu.tsc_adjust;
  cpu.at = nullptr;
  return tsc;
}

bool tsc_allowed(Cpu& cpu, const Op* op) {
  if (cpu.cpl == 0 || (cpu.cr4 & arch::cr4::tsd) == 0) return true;
  raise_gp(cpu, op);
  return false;
}

template <bool with_aux>
void op_rdtsc(Cpu& cpu, const Op* op) {
  if (!tsc_allowed(cpu, op)) return;
  const u64 tsc = read_tsc(cpu, op);
  cpu.gpr[arch::rax] = static_cast<u32>(tsc);
  cpu.gpr[arch::rdx] = tsc >> 32;
  if (with_aux) cpu.gpr[arch::rcx] = static_cast<u32>(cpu.tsc_aux);
  CLOISTER_NEXT(cpu, op);
}

/// There are no performance counters (CPUID 0xA is zero): every index is out of range.
void op_rdpmc(Cpu& cpu, const Op* op) { return raise_gp(cpu, op); }

template <Handler handler, bool ends>
Selected select_plain(const Insn&, Op&) {
  return {handler, ends};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_CPUID, select_plain<op_cpuid, true>},
    {ZYDIS_MNEMONIC_HLT, select_plain<op_hlt, true>},
    {ZYDIS_MNEMONIC_VMCALL, select_plain<op_vmcall, true>},
    {ZYDIS_MNEMONIC_XSETBV, select_plain<op_xsetbv, true>},
    {ZYDIS_MNEMONIC_RDMSR, select_plain<op_rdmsr, false>},
    {ZYDIS_MNEMONIC_WRMSR, select_plain<op_wrmsr, true>},
    {ZYDIS_MNEMONIC_IN, select_io<true>},
    {ZYDIS_MNEMONIC_OUT, select_io<false>},
    {ZYDIS_MNEMONIC_INSB, select_string_io<true, 1>},
    {ZYDIS_MNEMONIC_INSW, select_string_io<true, 2>},
    {ZYDIS_MNEMONIC_INSD, select_string_io<true, 4>},
    {ZYDIS_MNEMONIC_OUTSB, select_string_io<false, 1>},
    {ZYDIS_MNEMONIC_OUTSW, select_string_io<false, 2>},
    {ZYDIS_MNEMONIC_OUTSD, select_string_io<false, 4>},
    {ZYDIS_MNEMONIC_CLI, select_plain<op_cli, false>},
    {ZYDIS_MNEMONIC_STI, select_plain<op_sti, false>},
    {ZYDIS_MNEMONIC_CLAC, select_plain<op_ac<false>, false>},
    {ZYDIS_MNEMONIC_STAC, select_plain<op_ac<true>, false>},
    {ZYDIS_MNEMONIC_RDTSC, select_plain<op_rdtsc<false>, false>},
    {ZYDIS_MNEMONIC_RDTSCP, select_plain<op_rdtsc<true>, false>},
    {ZYDIS_MNEMONIC_RDPMC, select_plain<op_rdpmc, true>},
};

}  // namespace

std::span<const Row> system_rows() { return rows; }

}  // namespace cloister::silicon
