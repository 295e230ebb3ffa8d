// Far RET and IRET (SDM vol. 2 and vol. 3A, 5.8.6).
#include "arch/try.hpp"
#include "silicon/isa/stack.hpp"
#include "silicon/isa/system/event.hpp"
#include "silicon/isa/system/far.hpp"
#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

namespace v = arch::vector;
namespace f = arch::rflags;

namespace {

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
  /// 16 bits are read, in a slot of `bytes`.
  bool pop_selector(u16& value, unsigned bytes) {
    if (!pop_as<u16>(value)) return false;
    skip(bytes - sizeof value);
    return true;
  }
  void skip(u64 bytes) {
    sp_ = cpu_.code64 ? Stack64::moved(cpu_, sp_, static_cast<i64>(bytes))
                      : Stack32::moved(cpu_, sp_, static_cast<i64>(bytes));
  }
  u64 sp() const { return sp_; }

 private:
  template <class T>
  bool pop_as(auto& value) {
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
  u64 rip = 0, sp = 0;
  u16 cs = 0, ss = 0;
  bool has_stack = false;
};

/// Loads CS, SS and the stack pointer of a return to `code`, after `stack` has popped them.
tl::expected<void, Miss> commit_return(Cpu& cpu, const Return& r, Descriptor& code, u64 sp_after, unsigned bytes) {
  const Selector cs{r.cs};
  const unsigned cpl = cs.rpl();
  const bool to64 = cpu.long_mode() && (code.attributes() & attr::l) != 0;
  const bool outer = cpl > cpu.cpl;
  // A return to 32-bit code takes the lower half of RIP. The target comes before the stack segment, but after it in a
  // return to an outer level (SDM vol. 2A, IRET).
  const u64 rip = to64 ? r.rip : static_cast<u32>(r.rip);
  const auto target = check_target(cpu, code, rip);
  if (!outer && !target) return target;
  Segment ss = cpu.seg[arch::seg_ss];
  if (r.has_stack) {
    ss = TRY(stack_for_return(cpu, r.ss, cpl, to64));
  }
  if (!target) return target;
  TRY(mark_accessed(cpu, cs, code));
  const bool from64 = cpu.code64;
  cpu.seg[arch::seg_ss] = ss;
  load_code(cpu, code, cs.value, cpl, rip);
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
  if (!stack.pop(r.rip, bytes) || !stack.pop_selector(r.cs, bytes)) return;
  stack.skip(op->imm);
  if (!cpu.protected_mode()) {
    Stack32::set_pointer(cpu, stack.sp());
    real_far(cpu, r.cs, r.rip);
    return far_done(cpu, op);
  }
  // CS is checked before the outer stack's pointer is read (SDM vol. 2B, RET).
  auto code = code_for_return(cpu, Selector{r.cs});
  if (!code) return raise_miss(cpu, op, code.error());
  r.has_stack = (r.cs & 3) > cpu.cpl;
  if (r.has_stack) {
    if (!stack.pop(r.sp, bytes) || !stack.pop_selector(r.ss, bytes)) return;
    r.sp += op->imm;
  }
  const auto returned = commit_return(cpu, r, *code, stack.sp(), bytes);
  if (!returned) return raise_miss(cpu, op, returned.error());
  return far_done(cpu, op);
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
  if (!stack.pop(r.rip, bytes) || !stack.pop_selector(r.cs, bytes) || !stack.pop(flags, bytes)) return;
  const u64 new_flags = iret_flags(cpu, flags, bytes);
  if (!cpu.protected_mode()) {
    Stack32::set_pointer(cpu, stack.sp());
    real_far(cpu, r.cs, r.rip);
  } else {
    // Virtual-8086 mode is not offered: an image that asks for it is refused as IA-32e mode refuses it.
    if (!cpu.long_mode() && bytes == 4 && (flags & f::vm) != 0 && cpu.cpl == 0) return raise_gp(cpu, op);
    auto code = code_for_return(cpu, Selector{r.cs});
    if (!code) return raise_miss(cpu, op, code.error());
    r.has_stack = cpu.code64 || (r.cs & 3) > cpu.cpl;
    if (r.has_stack && (!stack.pop(r.sp, bytes) || !stack.pop_selector(r.ss, bytes))) return;
    const auto returned = commit_return(cpu, r, *code, stack.sp(), bytes);
    if (!returned) return raise_miss(cpu, op, returned.error());
  }
  cpu.nmi_blocked = false;
  set_rflags(cpu, new_flags);
  return far_done(cpu, op);
}

template <unsigned bits>
Selected select_iret(const Insn&, Op& op) {
  op.aux = static_cast<u8>((bits / 8) << 2);
  return {op_iret, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_IRET, select_iret<16>},
    {ZYDIS_MNEMONIC_IRETD, select_iret<32>},
    {ZYDIS_MNEMONIC_IRETQ, select_iret<64>},
};

}  // namespace

std::span<const Row> iret_rows() { return rows; }

Selected select_ret_far(const Insn& insn, Op& op) {
  op.imm = insn.visible() > 0 && insn.is_imm(0) ? insn.imm(0) & 0xffff : 0;
  op.aux = static_cast<u8>((insn.info.operand_width / 8) << 2);
  return {op_ret_far, true};
}

}  // namespace cloister::silicon
