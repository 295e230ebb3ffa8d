// Far transfers: far JMP, CALL and RET, IRET, INT n and its kin, call gates (SDM vol. 2 and vol. 3A, 5.8).
#include "silicon/cpu/event.hpp"
#include "silicon/cpu/stack.hpp"
#include "silicon/cpu/system_op.hpp"

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

/// The target offset lies in the new code segment.
tl::expected<void, Miss> check_target(const Cpu& cpu, const Descriptor& code, u64 offset) {
  const bool to64 = cpu.long_mode() && (code.attributes() & attr::l) != 0;
  if (to64 ? !is_canonical(offset) : offset > code.limit()) return tl::unexpected(fault_miss(v::gp, 0));
  return {};
}

void load_code(Cpu& cpu, const Descriptor& d, u16 selector, unsigned cpl, u64 rip) {
  cpu.seg[arch::seg_cs] = d.segment(static_cast<u16>((selector & ~3) | cpl));
  cpu.cpl = static_cast<u8>(cpl);
  update_mode(cpu);
  cpu.rip = cpu.wrap(rip);
}

void done(Cpu& cpu, const Op* op) {
  cpu.at = op + 1;
  cpu.leave = Leave::jump;
}

void real_far(Cpu& cpu, u16 selector, u64 offset) {
  cpu.seg[arch::seg_cs].selector = selector;
  cpu.seg[arch::seg_cs].base = u64{selector} << 4;
  update_mode(cpu);
  cpu.rip = offset;
}

// ------------------------------------------------------------------------------------------------ JMP and CALL

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
  auto wide = read_descriptor(cpu, gate_selector, cpu.long_mode());
  if (!wide) return tl::unexpected(wide.error());
  // The upper half's type field is zero (SDM vol. 3A, 5.8.3.1).
  if (cpu.long_mode() && ((wide->high >> 40) & 0x1f) != 0) return tl::unexpected(fault_miss(v::gp, error));
  GateTarget t;
  t.cs = Selector{wide->gate_selector()};
  if (t.cs.null()) return tl::unexpected(fault_miss(v::gp, 0));
  auto code = read_descriptor(cpu, t.cs, false);
  if (!code) return tl::unexpected(code.error());
  if (!code->is_code() || code->dpl() > cpu.cpl) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  const u32 l_and_d = code->attributes() & (attr::l | attr::db);
  if (cpu.long_mode() && l_and_d != attr::l) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  if (!call && !code->conforming() && code->dpl() != cpu.cpl) return tl::unexpected(fault_miss(v::gp, t.cs.error()));
  if (!code->present()) return tl::unexpected(fault_miss(v::np, t.cs.error()));
  t.code = *code;
  t.inner = call && !code->conforming() && code->dpl() < cpu.cpl;
  const bool gate16 = narrow.type() == system_type::call_gate16;
  t.offset = gate16            ? wide->gate_offset() & 0xffff
             : cpu.long_mode() ? wide->gate_offset()
                               : wide->gate_offset() & 0xffff'ffff;
  return t;
}

Miss task_switch_exit(u16 selector, unsigned source) {
  Miss m{.is_exit = true, .fault = {}, .exit = {}};
  m.exit.reason = ExitReason::task_switch;
  m.exit.qualification = selector | (u64{source} << 30);
  return m;
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
  const auto fresh = tss_stack(cpu, cpl, 0, 0);
  if (!fresh) return tl::unexpected(fresh.error());
  const bool wide = cpu.long_mode();
  Segment ss = null_segment(static_cast<u16>(cpl));
  ss.attributes |= cpl << 5;
  if (wide) {
    if (!is_canonical(fresh->sp)) return tl::unexpected(fault_miss(v::ss, 0));
  } else {
    auto checked = check_stack_segment(cpu, fresh->ss, cpl, v::ts, 0);
    if (!checked) return tl::unexpected(checked.error());
    ss = *checked;
  }
  StackWriter stack(cpu, ss, fresh->sp, wide);
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
      if (auto pushed = push_return(cpu, op, cpu.seg[arch::seg_ss], sp, bytes); !pushed) return pushed;
      Stack32::set_pointer(cpu, sp);
    }
    real_far(cpu, selector, offset);
    return {};
  }
  const Selector s{selector};
  if (s.null()) return tl::unexpected(fault_miss(v::gp, 0));
  const auto d = read_descriptor(cpu, s, false);
  if (!d) return tl::unexpected(d.error());

  GateTarget t{s, *d, offset, false};
  if (d->system()) {
    const u32 type = d->type();
    const bool gate = type == system_type::call_gate || (!cpu.long_mode() && type == system_type::call_gate16);
    const bool task =
        !cpu.long_mode() && (type == system_type::task_gate || type == system_type::tss || type == system_type::tss16);
    if (task) return tl::unexpected(task_switch_exit(selector, call ? 0 : 2));
    if (!gate) return tl::unexpected(fault_miss(v::gp, s.error()));
    auto target = through_gate(cpu, s, *d, call);
    if (!target) return tl::unexpected(target.error());
    t = *target;
    bytes = cpu.long_mode() ? 8 : type == system_type::call_gate ? 4 : 2;
    if (auto ok = check_target(cpu, t.code, t.offset); !ok) return ok;
    if (t.inner) return call_inner(cpu, op, t, bytes, d->gate_parameters());
  } else {
    auto code = code_for_transfer(cpu, s);
    if (!code) return tl::unexpected(code.error());
    t.code = *code;
    if (auto ok = check_target(cpu, t.code, t.offset); !ok) return ok;
  }
  u64 sp = cpu.code64 ? Stack64::pointer(cpu) : Stack32::pointer(cpu);
  if (call) {
    if (auto pushed = push_return(cpu, op, cpu.seg[arch::seg_ss], sp, bytes); !pushed) return pushed;
  }
  if (auto marked = mark_accessed(cpu, t.cs, t.code); !marked) return marked;
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
  return done(cpu, op);
}

// ------------------------------------------------------------------------------------------------ RET and IRET

/// Values popped from the current stack; the register moves only when the instruction commits.
class StackReader {
 public:
  StackReader(Cpu& cpu, const Op* op)
      : cpu_(cpu), op_(op), sp_(cpu.code64 ? Stack64::pointer(cpu) : Stack32::pointer(cpu)) {}
  bool pop(u64& value, unsigned bytes) {
    value = 0;
    switch (bytes) {
      case 2: return pop_as<u16>(value);
      case 4: return pop_as<u32>(value);
      default: return pop_as<u64>(value);
    }
  }
  void skip(u64 bytes) {
    sp_ = cpu_.code64 ? Stack64::moved(cpu_, sp_, static_cast<i64>(bytes))
                      : Stack32::moved(cpu_, sp_, static_cast<i64>(bytes));
  }
  u64 sp() const { return sp_; }

 private:
  template <class T>
  bool pop_as(u64& value) {
    T t = 0;
    const bool ok =
        cpu_.code64 ? pop_at<Stack64, Cold, T>(cpu_, op_, sp_, t) : pop_at<Stack32, Cold, T>(cpu_, op_, sp_, t);
    value = t;
    return ok;
  }
  Cpu& cpu_;
  const Op* op_;
  u64 sp_;
};

/// On a return to an outer level, data segments that it may not use become null (SDM vol. 2B, RET).
void drop_inner_segments(Cpu& cpu) {
  for (const arch::SegReg r : {arch::seg_es, arch::seg_ds, arch::seg_fs, arch::seg_gs}) {
    const u32 a = cpu.seg[r].attributes;
    if ((a & attr::unusable) != 0) continue;
    const bool conforming = (a & attr::code) != 0 && (a & attr::conforming) != 0;
    if (!conforming && attr::dpl_of(a) < cpu.cpl) cpu.seg[r] = null_segment(0);
  }
}

/// The code segment of a return: any outer or equal level.
tl::expected<Descriptor, Miss> code_for_return(Cpu& cpu, Selector s) {
  if (s.null()) return tl::unexpected(fault_miss(v::gp, 0));
  auto d = read_descriptor(cpu, s, false);
  if (!d) return d;
  const bool allowed =
      d->is_code() && s.rpl() >= cpu.cpl && (d->conforming() ? d->dpl() <= s.rpl() : d->dpl() == s.rpl());
  if (!allowed) return tl::unexpected(fault_miss(v::gp, s.error()));
  const bool both = (d->attributes() & attr::l) != 0 && (d->attributes() & attr::db) != 0;
  if (cpu.long_mode() && both) return tl::unexpected(fault_miss(v::gp, s.error()));
  if (!d->present()) return tl::unexpected(fault_miss(v::np, s.error()));
  return d;
}

/// The stack segment of a return to level `cpl`; to 64-bit code outside CPL 3 it may be null.
tl::expected<Segment, Miss> stack_for_return(Cpu& cpu, u16 selector, unsigned cpl, bool to64) {
  const Selector s{selector};
  if (s.null() && to64 && cpl != 3 && s.rpl() == cpl) {
    Segment ss = null_segment(selector);
    ss.attributes |= cpl << 5;
    return ss;
  }
  return check_stack_segment(cpu, selector, cpl, v::gp, 0);
}

struct Return {
  u64 rip = 0, cs = 0, sp = 0, ss = 0;
  bool has_stack = false;
};

/// Loads CS, SS and the stack pointer of a return, after `stack` has popped them.
tl::expected<void, Miss> commit_return(Cpu& cpu, const Return& r, u64 sp_after, unsigned bytes) {
  const Selector cs{static_cast<u16>(r.cs)};
  auto code = code_for_return(cpu, cs);
  if (!code) return tl::unexpected(code.error());
  const unsigned cpl = cs.rpl();
  const bool to64 = cpu.long_mode() && (code->attributes() & attr::l) != 0;
  const bool outer = cpl > cpu.cpl;
  // The target comes before the stack segment, but after it in a return to an outer level (SDM vol. 2A, IRET).
  const auto target = check_target(cpu, *code, r.rip);
  if (!outer && !target) return target;
  Segment ss = cpu.seg[arch::seg_ss];
  if (r.has_stack) {
    auto segment = stack_for_return(cpu, static_cast<u16>(r.ss), cpl, to64);
    if (!segment) return tl::unexpected(segment.error());
    ss = *segment;
  }
  if (!target) return target;
  if (auto marked = mark_accessed(cpu, cs, *code); !marked) return marked;
  const bool from64 = cpu.code64;
  cpu.seg[arch::seg_ss] = ss;
  load_code(cpu, *code, cs.value, cpl, r.rip);
  const u64 sp = r.has_stack ? r.sp : sp_after;
  if (to64 || (from64 && !r.has_stack)) {
    cpu.gpr[arch::rsp] = sp;
  } else if (r.has_stack && bytes == 8) {
    cpu.gpr[arch::rsp] = static_cast<u32>(sp);
  } else {
    Stack32::set_pointer(cpu, sp);
  }
  if (outer) {
    drop_inner_segments(cpu);
    update_mode(cpu);
  }
  return {};
}

void op_ret_far(Cpu& cpu, const Op* op) {
  const unsigned bytes = aux_bytes(op);
  StackReader stack(cpu, op);
  Return r;
  if (!stack.pop(r.rip, bytes) || !stack.pop(r.cs, bytes)) return;
  stack.skip(op->imm);
  if (!cpu.protected_mode()) {
    Stack32::set_pointer(cpu, stack.sp());
    real_far(cpu, static_cast<u16>(r.cs), r.rip);
    return done(cpu, op);
  }
  r.has_stack = (r.cs & 3) > cpu.cpl;
  if (r.has_stack) {
    if (!stack.pop(r.sp, bytes) || !stack.pop(r.ss, bytes)) return;
    r.sp += op->imm;
  }
  const auto returned = commit_return(cpu, r, stack.sp(), bytes);
  if (!returned) return raise_miss(cpu, op, returned.error());
  return done(cpu, op);
}

/// What IRET may change in RFLAGS (SDM vol. 2A, IRET): IOPL at CPL 0, IF at CPL <= IOPL, the upper half with 32 bits
/// up.
u64 iret_flags(const Cpu& cpu, u64 image, unsigned bytes) {
  u64 mask = f::status | f::tf | f::df | f::nt;
  if (bytes > 2) mask |= f::rf | f::ac | f::id;
  if (cpu.cpl <= cpu.iopl()) mask |= f::if_;
  if (cpu.cpl == 0) mask |= f::iopl | (bytes > 2 ? f::vif | f::vip : 0);
  return (image & mask) | (cpu.rflags() & ~mask);
}

void op_iret(Cpu& cpu, const Op* op) {
  const unsigned bytes = aux_bytes(op);
  StackReader stack(cpu, op);
  Return r;
  u64 flags = 0;
  const bool nested = (cpu.system_flags & f::nt) != 0;
  if (cpu.protected_mode() && nested) {
    if (cpu.long_mode()) return raise_gp(cpu, op);
    return raise_miss(cpu, op, task_switch_exit(0, 1));
  }
  if (!stack.pop(r.rip, bytes) || !stack.pop(r.cs, bytes) || !stack.pop(flags, bytes)) return;
  const u64 new_flags = iret_flags(cpu, flags, bytes);
  if (!cpu.protected_mode()) {
    Stack32::set_pointer(cpu, stack.sp());
    real_far(cpu, static_cast<u16>(r.cs), r.rip);
  } else {
    // Virtual-8086 mode is not offered: an image that asks for it is refused as IA-32e mode refuses it.
    if (!cpu.long_mode() && bytes == 4 && (flags & f::vm) != 0 && cpu.cpl == 0) return raise_gp(cpu, op);
    r.has_stack = cpu.code64 || (r.cs & 3) > cpu.cpl;
    if (r.has_stack && (!stack.pop(r.sp, bytes) || !stack.pop(r.ss, bytes))) return;
    const auto returned = commit_return(cpu, r, stack.sp(), bytes);
    if (!returned) return raise_miss(cpu, op, returned.error());
  }
  cpu.nmi_blocked = false;
  cpu.set_rflags(new_flags);
  return done(cpu, op);
}

// ------------------------------------------------------------------------------------------------ INT n, INT3, INTO,
// INT1

void software_event(Cpu& cpu, const Op* op, u8 vector, EventType type) {
  cpu.at = op;
  cpu.event = {vector, type, false, 0, op->length};
  cpu.leave = Leave::software_event;
}

void op_int(Cpu& cpu, const Op* op) {
  return software_event(cpu, op, static_cast<u8>(op->imm), EventType::software_interrupt);
}
void op_int3(Cpu& cpu, const Op* op) {
  // In an enclave it is a fault: #UD after an opt-out entry, else #BP (SDM vol. 3D, 40.3.4).
  if (cpu.enclave.active) return raise(cpu, op, {cpu.enclave.opt_out ? v::ud : v::bp, false, 0, 0});
  return software_event(cpu, op, v::bp, EventType::software_exception);
}
void op_into(Cpu& cpu, const Op* op) {
  if (cpu.flags.of()) return software_event(cpu, op, v::of, EventType::software_exception);
  return leave_after(cpu, op);
}
void op_int1(Cpu& cpu, const Op* op) { return software_event(cpu, op, v::db, EventType::privileged_software); }

Selected select_int(const Insn& insn, Op& op) {
  op.imm = insn.imm(0) & 0xff;
  return {op_int, true};
}
template <Handler handler>
Selected select_plain(const Insn&, Op&) {
  return {handler, true};
}
template <unsigned bits>
Selected select_iret(const Insn&, Op& op) {
  op.aux = static_cast<u8>((bits / 8) << 2);
  return {op_iret, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_INT, select_int},
    {ZYDIS_MNEMONIC_INT3, select_plain<op_int3>},
    {ZYDIS_MNEMONIC_INTO, select_plain<op_into>},
    {ZYDIS_MNEMONIC_INT1, select_plain<op_int1>},
    {ZYDIS_MNEMONIC_IRET, select_iret<16>},
    {ZYDIS_MNEMONIC_IRETD, select_iret<32>},
    {ZYDIS_MNEMONIC_IRETQ, select_iret<64>},
};

}  // namespace

std::span<const Row> far_rows() { return rows; }

Selected select_far(const Insn& insn, Op& op) {
  const unsigned bytes = insn.info.operand_width / 8;
  const bool call = insn.info.mnemonic == ZYDIS_MNEMONIC_CALL;
  if (insn.info.mnemonic == ZYDIS_MNEMONIC_RET) {
    op.imm = insn.visible() > 0 && insn.is_imm(0) ? insn.imm(0) & 0xffff : 0;
    op.aux = static_cast<u8>(bytes << 2);
    return {op_ret_far, true};
  }
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
