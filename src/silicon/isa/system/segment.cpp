// Segment and descriptor-table registers: MOV and POP to segments, LDS and its kin, LGDT …, LLDT, LTR, LAR, LSL, VERR,
// VERW, ARPL, SWAPGS and the FS/GS base instructions (SDM vol. 2).
#include "silicon/isa/stack.hpp"
#include "silicon/isa/system/system_op.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

namespace v = arch::vector;

namespace {

// ------------------------------------------------------------------------------------------------ MOV, POP, LxS

void op_mov_to_segment(Cpu& cpu, const Op* op) {
  u64 selector;
  if (!system_read_rm(cpu, op, op->src, 2, selector)) return;
  const auto loaded = load_data_segment(cpu, static_cast<arch::SegReg>(op->dst), static_cast<u16>(selector));
  if (!loaded) return raise_miss(cpu, op, loaded.error());
  if (op->dst == arch::seg_ss) cpu.shadow = cpu.shadow_ss = true;
  return leave_after(cpu, op);
}

void op_mov_from_segment(Cpu& cpu, const Op* op) {
  if (!system_write_rm16(cpu, op, cpu.seg[op->src].selector)) return;
  CLOISTER_NEXT(cpu, op);
}

template <class Stack, class T>
void op_pop_segment(Cpu& cpu, const Op* op) {
  u64 pointer = Stack::pointer(cpu);
  u16 value = 0;
  if (!pop_at<Stack, Cold, u16>(cpu, op, pointer, value)) return;
  pointer = Stack::moved(cpu, pointer, sizeof(T) - sizeof value);
  const auto loaded = load_data_segment(cpu, static_cast<arch::SegReg>(op->dst), value);
  if (!loaded) return raise_miss(cpu, op, loaded.error());
  Stack::set_pointer(cpu, pointer);
  if (op->dst == arch::seg_ss) cpu.shadow = cpu.shadow_ss = true;
  return leave_after(cpu, op);
}

/// LDS, LES, LFS, LGS, LSS: imm is the segment register.
void op_load_far_pointer(Cpu& cpu, const Op* op) {
  const unsigned bytes = aux_bytes(op);
  u64 linear;
  if (!system_linear(cpu, op, bytes + 2, Access::read, linear)) return;
  u8 raw[10] = {};
  if (!load_slow(cpu, op, linear, raw, bytes + 2)) return;
  u64 offset = 0;
  u16 selector = 0;
  std::memcpy(&offset, raw, bytes);
  std::memcpy(&selector, raw + bytes, 2);
  const auto loaded = load_data_segment(cpu, static_cast<arch::SegReg>(op->imm), selector);
  if (!loaded) return raise_miss(cpu, op, loaded.error());
  write_sized(cpu, op->dst, offset, bytes);
  return leave_after(cpu, op);
}

template <arch::SegReg segment>
Selected select_load_far_pointer(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.imm = segment;
  op.aux = static_cast<u8>(static_cast<unsigned>(insn.memory) | ((insn.bits(0) / 8) << 2));
  return {op_load_far_pointer, true};
}

// ------------------------------------------------------------------------------------------------ tables

template <DescriptorTable Cpu::*table>
void op_load_table(Cpu& cpu, const Op* op) {
  if (!privileged(cpu, op)) return;
  const unsigned base_bytes = cpu.code64 ? 8 : 4;
  u64 linear;
  if (!system_linear(cpu, op, base_bytes + 2, Access::read, linear)) return;
  u8 raw[10] = {};
  if (!load_slow(cpu, op, linear, raw, base_bytes + 2)) return;
  DescriptorTable t;
  std::memcpy(&t.limit, raw, 2);
  std::memcpy(&t.base, raw + 2, base_bytes);
  if (op->imm == 16) t.base &= 0xff'ffff;  // 16-bit operand size: 24 bits
  if (cpu.code64 && !is_canonical(t.base)) return raise_gp(cpu, op);
  cpu.*table = t;
  return leave_after(cpu, op);
}

/// UMIP (SDM vol. 3A, 2.5): SGDT, SIDT, SLDT, SMSW and STR need CPL 0.
bool umip_allows(Cpu& cpu, const Op* op) {
  if ((cpu.cr4 & arch::cr4::umip) == 0 || cpu.cpl == 0) return true;
  raise_gp(cpu, op);
  return false;
}

template <DescriptorTable Cpu::*table>
[[gnu::noinline]] bool store_table(Cpu& cpu, const Op* op) {
  if (!umip_allows(cpu, op)) return false;
  const unsigned base_bytes = cpu.code64 ? 8 : 4;
  u64 linear;
  if (!system_linear(cpu, op, base_bytes + 2, Access::write, linear)) return false;
  u8 raw[10];
  std::memcpy(raw, &(cpu.*table).limit, 2);
  std::memcpy(raw + 2, &(cpu.*table).base, 8);
  return store_slow(cpu, op, linear, raw, base_bytes + 2);
}

template <DescriptorTable Cpu::*table, bool load>
Selected select_table_op(const Insn& insn, Op& op) {
  op.aux = system_aux(insn, 0);
  op.imm = insn.info.operand_width;
  if constexpr (load) {
    return {op_load_table<table>, true};
  } else {
    return {system_handler<store_table<table>>, false};
  }
}

template <bool task>
void op_load_system_segment(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu)) return raise_ud(cpu, op);
  if (!privileged(cpu, op)) return;
  u64 value;
  if (!system_read_rm(cpu, op, op->src, 2, value)) return;
  const Selector s{static_cast<u16>(value)};
  if (s.null() && !task) {
    cpu.ldtr = null_segment(s.value);
    return leave_after(cpu, op);
  }
  if (s.null()) return raise_gp(cpu, op);
  if (s.local()) return raise_gp(cpu, op, s.error());
  const auto d = read_descriptor(cpu, s, cpu.long_mode());
  if (!d) return raise_miss(cpu, op, d.error());
  const bool right_type =
      d->system() && (task ? d->type() == system_type::tss || (!cpu.long_mode() && d->type() == system_type::tss16)
                           : d->type() == system_type::ldt);
  if (!right_type) return raise_gp(cpu, op, s.error());
  if (!d->present()) return raise(cpu, op, {v::np, true, s.error()});
  if (cpu.long_mode() && !is_canonical(d->base())) return raise_gp(cpu, op, s.error());
  Segment segment = d->segment(s.value);
  if constexpr (task) {
    if (const auto marked = mark_busy(cpu, s, true); !marked) return raise_miss(cpu, op, marked.error());
    segment.attributes |= 2;
    cpu.tr = segment;
  } else {
    cpu.ldtr = segment;
  }
  return leave_after(cpu, op);
}

template <Segment Cpu::*segment>
void op_store_system_segment(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu)) return raise_ud(cpu, op);
  if (!umip_allows(cpu, op)) return;
  if (!system_write_rm16(cpu, op, (cpu.*segment).selector)) return;
  CLOISTER_NEXT(cpu, op);
}

template <void (*handler)(Cpu&, const Op*), bool ends>
Selected select_rm(const Insn& insn, Op& op) {
  op.aux = system_aux(insn, 0);
  if (insn.is_reg(0)) op.src = op.dst = insn.reg(0);
  return {handler, ends};
}

// ------------------------------------------------------------------------------------------------ LAR, LSL, VERR, VERW

/// The descriptor that LAR, LSL, VERR and VERW look at; nullopt: not accessible, ZF = 0.
tl::expected<std::optional<Descriptor>, Miss> visible_descriptor(Cpu& cpu, Selector s) {
  if (s.null()) return std::nullopt;
  auto d = read_descriptor(cpu, s, false);
  if (!d) {
    if (!d.error().is_exit && d.error().fault.vector == v::gp) return std::nullopt;
    return tl::unexpected(d.error());
  }
  const bool conforming = d->is_code() && d->conforming();
  if (!conforming && (cpu.cpl > d->dpl() || s.rpl() > d->dpl())) return std::nullopt;
  return *d;
}

void set_zf(Cpu& cpu, bool zf) {
  const u64 old = cpu.flags.get();
  cpu.flags.set(zf ? old | arch::rflags::zf : old & ~arch::rflags::zf);
}

enum class Look : u8 { lar, lsl, verr, verw };

/// System types that LAR and LSL accept (SDM vol. 2A, LAR, table 3-53; LSL, table 3-56).
template <class... T>
constexpr u32 types(T... t) {
  return ((1u << t) | ...);
}
namespace st = system_type;
constexpr u32 lsl_wide = types(st::ldt, st::tss, st::tss_busy);
constexpr u32 lsl_legacy = lsl_wide | types(st::tss16, st::tss16_busy);
constexpr u32 lar_wide = lsl_wide | types(st::call_gate);
constexpr u32 lar_legacy = lar_wide | lsl_legacy | types(st::call_gate16, st::task_gate);

bool type_answers(const Cpu& cpu, const Descriptor& d, Look look) {
  const bool wide = cpu.long_mode();
  const u32 type = 1u << d.type();
  switch (look) {
    case Look::lar: return !d.system() || (type & (wide ? lar_wide : lar_legacy)) != 0;
    case Look::lsl: return !d.system() || (type & (wide ? lsl_wide : lsl_legacy)) != 0;
    case Look::verr: return d.is_data() || (d.is_code() && (d.type() & attr::readable) != 0);
    case Look::verw: return d.is_data() && (d.type() & attr::writable) != 0;
  }
  return false;
}

template <Look look>
[[gnu::noinline]] bool look_at(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu)) {
    raise_ud(cpu, op);
    return false;
  }
  u64 value;
  if (!system_read_rm(cpu, op, op->src, 2, value)) return false;
  const auto d = visible_descriptor(cpu, Selector{static_cast<u16>(value)});
  if (!d) {
    raise_miss(cpu, op, d.error());
    return false;
  }
  const bool yes = *d && type_answers(cpu, **d, look);
  set_zf(cpu, yes);
  if (yes && look == Look::lar)
    write_sized(cpu, op->dst, (*d)->low >> 32 & 0x00ff'ff00, static_cast<unsigned>(op->imm));
  if (yes && look == Look::lsl) write_sized(cpu, op->dst, (*d)->limit(), static_cast<unsigned>(op->imm));
  return true;
}

template <Look look>
Selected select_look(const Insn& insn, Op& op) {
  const bool two = look == Look::lar || look == Look::lsl;
  const unsigned rm = two ? 1 : 0;
  op.aux = system_aux(insn, rm);
  if (insn.is_reg(rm)) op.src = insn.reg(rm);
  if (two) {
    op.dst = insn.reg(0);
    op.imm = insn.bits(0) / 8;
  }
  return {system_handler<look_at<look>>, false};
}

[[gnu::noinline]] bool arpl(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu)) {
    raise_ud(cpu, op);
    return false;
  }
  const u16 source = cpu.reg<u16>(op->src);
  u16 selector = cpu.reg<u16>(op->dst);
  u64 linear = 0;
  if (!aux_is_register(op) &&
      (!system_linear(cpu, op, 2, Access::read, linear) || !load<u16>(cpu, op, linear, selector))) {
    return false;
  }
  const bool raised = (selector & 3) < (source & 3);
  if (raised) {
    selector = static_cast<u16>((selector & ~3) | (source & 3));
    if (aux_is_register(op)) {
      cpu.set_reg<u16>(op->dst, selector);
    } else if (!system_linear(cpu, op, 2, Access::write, linear) || !store<u16>(cpu, op, linear, selector)) {
      return false;
    }
  }
  set_zf(cpu, raised);
  return true;
}

Selected select_arpl(const Insn& insn, Op& op) {
  op.aux = system_aux(insn, 0);
  if (insn.is_reg(0)) op.dst = insn.reg(0);
  op.src = insn.reg(1);
  return {system_handler<arpl>, false};
}

// ------------------------------------------------------------------------------------------------ FS and GS bases

void op_swapgs(Cpu& cpu, const Op* op) {
  if (!cpu.code64) return raise_ud(cpu, op);
  if (!privileged(cpu, op)) return;
  std::swap(cpu.seg[arch::seg_gs].base, cpu.kernel_gs_base);
  cpu.seg_base[arch::seg_gs] = cpu.seg[arch::seg_gs].base;
  CLOISTER_NEXT(cpu, op);
}

Selected select_swapgs(const Insn&, Op&) { return {op_swapgs, false}; }

bool fsgsbase_on(Cpu& cpu, const Op* op) {
  if (cpu.code64 && (cpu.cr4 & arch::cr4::fsgsbase) != 0) return true;
  raise_ud(cpu, op);
  return false;
}

template <arch::SegReg segment>
void op_read_base(Cpu& cpu, const Op* op) {
  if (!fsgsbase_on(cpu, op)) return;
  write_sized(cpu, op->dst, cpu.seg[segment].base, aux_bytes(op));
  CLOISTER_NEXT(cpu, op);
}

template <arch::SegReg segment>
void op_write_base(Cpu& cpu, const Op* op) {
  if (!fsgsbase_on(cpu, op)) return;
  const u64 base = aux_bytes(op) == 4 ? static_cast<u32>(cpu.gpr[op->src]) : cpu.gpr[op->src];
  if (!is_canonical(base)) return raise_gp(cpu, op);
  cpu.seg[segment].base = cpu.seg_base[segment] = base;
  CLOISTER_NEXT(cpu, op);
}

constexpr auto& load_gdt = select_table_op<&Cpu::gdtr, true>;
constexpr auto& load_idt = select_table_op<&Cpu::idtr, true>;
constexpr auto& store_gdt = select_table_op<&Cpu::gdtr, false>;
constexpr auto& store_idt = select_table_op<&Cpu::idtr, false>;

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_LDS, select_load_far_pointer<arch::seg_ds>},
    {ZYDIS_MNEMONIC_LES, select_load_far_pointer<arch::seg_es>},
    {ZYDIS_MNEMONIC_LFS, select_load_far_pointer<arch::seg_fs>},
    {ZYDIS_MNEMONIC_LGS, select_load_far_pointer<arch::seg_gs>},
    {ZYDIS_MNEMONIC_LSS, select_load_far_pointer<arch::seg_ss>},
    {ZYDIS_MNEMONIC_LGDT, load_gdt},
    {ZYDIS_MNEMONIC_LIDT, load_idt},
    {ZYDIS_MNEMONIC_SGDT, store_gdt},
    {ZYDIS_MNEMONIC_SIDT, store_idt},
    {ZYDIS_MNEMONIC_LLDT, select_rm<op_load_system_segment<false>, true>},
    {ZYDIS_MNEMONIC_LTR, select_rm<op_load_system_segment<true>, true>},
    {ZYDIS_MNEMONIC_SLDT, select_rm<op_store_system_segment<&Cpu::ldtr>, false>},
    {ZYDIS_MNEMONIC_STR, select_rm<op_store_system_segment<&Cpu::tr>, false>},
    {ZYDIS_MNEMONIC_LAR, select_look<Look::lar>},
    {ZYDIS_MNEMONIC_LSL, select_look<Look::lsl>},
    {ZYDIS_MNEMONIC_VERR, select_look<Look::verr>},
    {ZYDIS_MNEMONIC_VERW, select_look<Look::verw>},
    {ZYDIS_MNEMONIC_ARPL, select_arpl},
    {ZYDIS_MNEMONIC_SWAPGS, select_swapgs},
    {ZYDIS_MNEMONIC_RDFSBASE, select_rm<op_read_base<arch::seg_fs>, false>},
    {ZYDIS_MNEMONIC_RDGSBASE, select_rm<op_read_base<arch::seg_gs>, false>},
    {ZYDIS_MNEMONIC_WRFSBASE, select_rm<op_write_base<arch::seg_fs>, false>},
    {ZYDIS_MNEMONIC_WRGSBASE, select_rm<op_write_base<arch::seg_gs>, false>},
};

template <class Stack, class T>
struct PopSegment {
  static constexpr Handler handler = op_pop_segment<Stack, T>;
};

}  // namespace

std::span<const Row> segment_rows() { return rows; }

Selected select_mov_special(const Insn& insn, Op& op) {
  if (insn.info.mnemonic == ZYDIS_MNEMONIC_POP) {
    op.dst = insn.reg(0);
    const Handler h = by_stack(insn, insn.info.operand_width,
                               []<class Stack, class T>(Stack, T) { return PopSegment<Stack, T>::handler; });
    return {h, true};
  }
  if (insn.is_reg(0) && insn.reg_class(0) == ZYDIS_REGCLASS_SEGMENT) {
    op.dst = insn.reg(0);
    if (op.dst == arch::seg_cs) return {op_undefined, true};
    op.aux = system_aux(insn, 1);
    if (insn.is_reg(1)) op.src = insn.reg(1);
    return {op_mov_to_segment, true};
  }
  if (insn.is_reg(1) && insn.reg_class(1) == ZYDIS_REGCLASS_SEGMENT) {
    op.src = insn.reg(1);
    op.aux = system_aux(insn, 0);
    if (insn.is_reg(0)) op.dst = insn.reg(0);
    return {op_mov_from_segment, false};
  }
  return select_mov_control(insn, op);
}

}  // namespace cloister::silicon
