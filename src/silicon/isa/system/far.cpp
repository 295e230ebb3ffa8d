// Far JMP and CALL, call gates (SDM vol. 2 and vol. 3A, 5.8).
#include "silicon/isa/system/far.hpp"

#include "arch/try.hpp"
#include "silicon/isa/stack.hpp"
#include "silicon/isa/system/event.hpp"
#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

namespace v = arch::vector;
namespace f = arch::rflags;

namespace {

/// A code segment that a transfer may load without a change of privilege (SDM vol. 3A, 5.8.1).
tl::expected<Descriptor, Miss> code_for_transfer(Cpu& cpu, Selector s) {
  if (s.null()) return tl::unexpected(fault_miss(v::gp, 0));
  auto d = read_descriptor(cpu, s, false);
  if (!d) return d;
  if (!d->is_code()) return tl::unexpected(fault_miss(v::gp, s.error()));
  const bool allowed = d->conforming() ? d->dpl() <= cpu.cpl : d->dpl() == cpu.cpl && s.rpl() <= cpu.cpl;
  if (!allowed) return tl::unexpected(fault_miss(v::gp, s.error()));
  if (!d->present()) return tl::unexpected(fault_miss(v::np, s.error()));
  const bool both = (d->attributes() & attr::l) != 0 && (d->attributes() & attr::db) != 0;
  if (cpu.long_mode() && both) return tl::unexpected(fault_miss(v::gp, s.error()));
  return d;
}

/// A call gate's target and, for CALL to an inner level, its stack.
struct GateTarget {
  Selector cs;
  Descriptor code;
  u64 offset = 0;
  bool inner = false;
};

tl::expected<GateTarget, Miss> through_gate(Cpu& cpu, Selector gate_selector, const Descriptor& narrow, bool call) {
  const u32 error = gate_selector.error();
  const unsigned rpl = gate_selector.rpl();
  if (narrow.dpl() < cpu.cpl || narrow.dpl() < rpl) return tl::unexpected(fault_miss(v::gp, error));
  if (!narrow.present()) return tl::unexpected(fault_miss(v::np, error));
  auto wide = TRY(read_descriptor(cpu, gate_selector, cpu.long_mode()));
  // The upper half's type field is zero (SDM vol. 3A, 5.8.3.1).
  if (cpu.long_mode() && ((wide.high >> 40) & 0x1f) != 0) return tl::unexpected(fault_miss(v::gp, error));
  GateTarget t;
  t.cs = Selector{wide.gate_selector()};
  if (t.cs.null()) return tl::unexpected(fault_miss(v::gp, 0));
  auto code = TRY(read_descriptor(cpu, t.cs, false));
  if (!code.is_code() || code.dpl() > cpu.cpl) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  const u32 l_and_d = code.attributes() & (attr::l | attr::db);
  if (cpu.long_mode() && l_and_d != attr::l) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  if (!call && !code.conforming() && code.dpl() != cpu.cpl) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  if (!code.present()) return tl::unexpected(fault_miss(v::np, t.cs.error()));
  t.code = code;
  t.inner = call && !code.conforming() && code.dpl() < cpu.cpl;
  const bool gate16 = narrow.type() == system_type::call_gate16;
  t.offset = gate16            ? wide.gate_offset() & 0xffff
             : cpu.long_mode() ? wide.gate_offset()
                               : wide.gate_offset() & 0xffff'ffff;
  return t;
}

tl::expected<void, Miss> push_return(Cpu& cpu, const Op* op, const Segment& ss, u64& sp, unsigned bytes) {
  StackWriter stack(cpu, ss, sp, cpu.code64);
  Miss m;
  if (!stack.push(cpu.seg[arch::seg_cs].selector, bytes, m) || !stack.push(cpu.rip_after(op), bytes, m)) {
    return tl::unexpected(m);
  }
  sp = stack.sp();
  return {};
}

void set_stack_pointer(Cpu& cpu, u64 sp) {
  if (cpu.code64) {
    cpu.gpr[arch::rsp] = sp;
  } else {
    Stack32::set_pointer(cpu, sp);
  }
}

/// CALL through a gate to an inner level: new stack, parameters copied, return address to the old one.
tl::expected<void, Miss> call_inner(Cpu& cpu, const Op* op, const GateTarget& t, unsigned bytes, unsigned parameters) {
  const unsigned cpl = t.code.dpl();
  const auto fresh = TRY(tss_stack(cpu, cpl, 0, 0));
  const bool wide = cpu.long_mode();
  Segment ss = null_segment(static_cast<u16>(cpl));
  ss.attributes |= cpl << 5;
  if (wide) {
    if (!is_canonical(fresh.sp)) return tl::unexpected(fault_miss(v::ss, 0));
  } else {
    ss = TRY(check_stack_segment(cpu, fresh.ss, cpl, v::ts, 0));
  }
  StackWriter stack(cpu, ss, fresh.sp, wide);
  Miss m;
  const u64 old_sp = cpu.gpr[arch::rsp];
  if (!stack.push(cpu.seg[arch::seg_ss].selector, bytes, m) || !stack.push(old_sp, bytes, m)) return tl::unexpected(m);
  for (unsigned i = parameters; !wide && i-- > 0;) {
    u64 value = 0;
    const u64 from = cpu.seg[arch::seg_ss].base + Stack32::moved(cpu, old_sp & Stack32::mask(cpu), i * bytes);
    if (!system_read(cpu, static_cast<u32>(from), &value, bytes, m)) return tl::unexpected(m);
    if (!stack.push(value, bytes, m)) return tl::unexpected(m);
  }
  if (!stack.push(cpu.seg[arch::seg_cs].selector, bytes, m) || !stack.push(cpu.rip_after(op), bytes, m)) {
    return tl::unexpected(m);
  }
  cpu.seg[arch::seg_ss] = ss;
  load_code(cpu, t.code, t.cs.value, cpl, t.offset);
  set_stack_pointer(cpu, stack.sp());
  return {};
}

tl::expected<void, Miss> far_transfer(Cpu& cpu, const Op* op, u16 selector, u64 offset, unsigned bytes, bool call) {
  if (!cpu.protected_mode()) {
    u64 sp = cpu.gpr[arch::rsp] & 0xffff;
    if (call) {
      TRY(push_return(cpu, op, cpu.seg[arch::seg_ss], sp, bytes));
      Stack32::set_pointer(cpu, sp);
    }
    real_far(cpu, selector, offset);
    return {};
  }
  const Selector s{selector};
  if (s.null()) return tl::unexpected(fault_miss(v::gp, 0));
  const auto d = TRY(read_descriptor(cpu, s, false));

  GateTarget t{s, d, offset, false};
  if (d.system()) {
    const u32 type = d.type();
    const bool gate = type == system_type::call_gate || (!cpu.long_mode() && type == system_type::call_gate16);
    const bool task =
        !cpu.long_mode() && (type == system_type::task_gate || type == system_type::tss || type == system_type::tss16);
    if (task) return tl::unexpected(task_switch_exit(selector, call ? 0 : 2));
    if (!gate) return tl::unexpected(fault_miss(v::gp, s.error()));
    t = TRY(through_gate(cpu, s, d, call));
    bytes = cpu.long_mode() ? 8 : type == system_type::call_gate ? 4 : 2;
    TRY(check_target(cpu, t.code, t.offset));
    if (t.inner) return call_inner(cpu, op, t, bytes, d.gate_parameters());
  } else {
    t.code = TRY(code_for_transfer(cpu, s));
    if (cpu.code64 && (t.code.attributes() & attr::l) == 0) t.offset = static_cast<u32>(t.offset);
    TRY(check_target(cpu, t.code, t.offset));
  }
  u64 sp = cpu.code64 ? Stack64::pointer(cpu) : Stack32::pointer(cpu);
  // From 64-bit to 32-bit code processors push with ESP already, though the manual switches after the pushes.
  if (cpu.code64 && (t.code.attributes() & attr::l) == 0) sp = static_cast<u32>(sp);
  if (call) {
    TRY(push_return(cpu, op, cpu.seg[arch::seg_ss], sp, bytes));
  }
  TRY(mark_accessed(cpu, t.cs, t.code));
  if (call) set_stack_pointer(cpu, sp);
  load_code(cpu, t.code, t.cs.value, cpu.cpl, t.offset);
  return {};
}

/// imm: offset; disp: selector (pointer form); aux as system_aux, with the offset's size.
template <bool call, bool memory>
void op_far(Cpu& cpu, const Op* op) {
  const unsigned bytes = aux_bytes(op);
  u64 offset = op->imm;
  u16 selector = static_cast<u16>(op->disp);
  if constexpr (memory) {
    u64 linear;
    u8 raw[10] = {};
    if (!system_linear(cpu, op, bytes + 2, Access::read, linear) || !load_slow(cpu, op, linear, raw, bytes + 2)) return;
    offset = 0;
    std::memcpy(&offset, raw, bytes);
    std::memcpy(&selector, raw + bytes, 2);
  }
  const auto transferred = far_transfer(cpu, op, selector, offset, bytes, call);
  if (!transferred) return raise_miss(cpu, op, transferred.error());
  return far_done(cpu, op);
}

}  // namespace

tl::expected<void, Miss> check_target(const Cpu& cpu, const Descriptor& code, u64 offset) {
  const bool to64 = cpu.long_mode() && (code.attributes() & attr::l) != 0;
  if (to64 ? !is_canonical(offset) : offset > code.limit()) return tl::unexpected(fault_miss(v::gp, 0));
  return {};
}

Miss task_switch_exit(u16 selector, unsigned source) {
  Miss m{.is_exit = true, .fault = {}, .exit = {}};
  m.exit.reason = ExitReason::task_switch;
  m.exit.qualification = selector | (u64{source} << 30);
  return m;
}

void load_code(Cpu& cpu, const Descriptor& d, u16 selector, unsigned cpl, u64 rip) {
  cpu.seg[arch::seg_cs] = d.segment(static_cast<u16>((selector & ~3) | cpl));
  cpu.cpl = static_cast<u8>(cpl);
  update_mode(cpu);
  cpu.rip = cpu.wrap(rip);
}

void far_done(Cpu& cpu, const Op* op) {
  cpu.at = op + 1;
  cpu.leave = Leave::jump;
}

void real_far(Cpu& cpu, u16 selector, u64 offset) {
  cpu.seg[arch::seg_cs].selector = selector;
  cpu.seg[arch::seg_cs].base = u64{selector} << 4;
  update_mode(cpu);
  cpu.rip = offset;
}

Selected select_far(const Insn& insn, Op& op) {
  const unsigned bytes = insn.info.operand_width / 8;
  const bool call = insn.info.mnemonic == ZYDIS_MNEMONIC_CALL;
  if (insn.info.mnemonic == ZYDIS_MNEMONIC_RET) return select_ret_far(insn, op);
  if (insn.operand[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
    op.imm = insn.operand[0].ptr.offset;
    op.disp = insn.operand[0].ptr.segment;
    op.aux = static_cast<u8>(bytes << 2 | aux_register);
    return {call ? op_far<true, false> : op_far<false, false>, true};
  }
  op.aux = static_cast<u8>(static_cast<unsigned>(insn.memory) | (bytes << 2));
  return {call ? op_far<true, true> : op_far<false, true>, true};
}

}  // namespace cloister::silicon
