// Event delivery: IA-32e mode (SDM vol. 3A, 6.14), protected mode (6.12), real mode (vol. 3B, 21.1.4).
#include "silicon/isa/system/event.hpp"

#include "arch/try.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

namespace v = arch::vector;
namespace f = arch::rflags;

namespace {

bool contributory(u8 vector) {
  return vector == v::de || vector == v::ts || vector == v::np || vector == v::ss || vector == v::gp || vector == v::cp;
}

bool software(const Event& e) {
  return e.type == EventType::software_interrupt || e.type == EventType::software_exception;
}

/// The image of RFLAGS in the frame: RF is set for faults (SDM vol. 3B, 18.3.1.1), but for code breakpoints' #DB.
u64 pushed_flags(const Cpu& cpu, const Event& e) {
  const bool fault = e.type == EventType::exception && e.vector != v::db && e.vector != v::df && e.vector != v::mc;
  return cpu.rflags() | (fault ? f::rf : 0);
}

void enter_handler_flags(Cpu& cpu, bool interrupt_gate) {
  cpu.system_flags &= ~(f::tf | f::nt | f::rf | f::vm);
  if (interrupt_gate) cpu.system_flags &= ~f::if_;
}

tl::expected<void, Miss> deliver_real(Cpu& cpu, const Event& e, u64 rip) {
  const u32 offset = u32{e.vector} * 4;
  if (offset + 3 > cpu.idtr.limit) return tl::unexpected(Miss{.fault = {v::gp, false, 0, 0}, .exit = {}});
  u16 entry[2];
  Miss m;
  if (!system_read(cpu, cpu.idtr.base + offset, entry, 4, m)) return tl::unexpected(m);
  StackWriter stack(cpu, cpu.seg[arch::seg_ss], cpu.gpr[arch::rsp] & 0xffff, false);
  if (!stack.push(cpu.rflags(), 2, m) || !stack.push(cpu.seg[arch::seg_cs].selector, 2, m) || !stack.push(rip, 2, m)) {
    return tl::unexpected(m);
  }
  cpu.set_reg<u16>(arch::rsp, static_cast<u16>(stack.sp()));
  cpu.seg[arch::seg_cs].selector = entry[1];
  cpu.seg[arch::seg_cs].base = u64{entry[1]} << 4;
  cpu.rip = entry[0];
  cpu.system_flags &= ~(f::tf | f::if_ | f::ac | f::rf);
  update_mode(cpu);
  return {};
}

}  // namespace

bool StackWriter::push(u64 value, unsigned bytes, Miss& m) {
  const bool big = wide_ || (ss_.attributes & attr::db) != 0;
  u64 next = sp_ - bytes;
  if (!wide_) next = big ? static_cast<u32>(next) : static_cast<u16>(next);
  u64 linear = next;
  if (wide_) {
    if (!is_canonical(next) || !is_canonical(next + bytes - 1)) {
      m = fault_miss(v::ss, 0);
      return false;
    }
  } else {
    const bool down = (ss_.attributes & attr::expand_down) != 0;
    const u64 top = big ? 0xffff'ffff : 0xffff;
    const bool inside = down ? next > ss_.limit && next + bytes - 1 <= top : next + bytes - 1 <= ss_.limit;
    if (!inside) {
      m = fault_miss(v::ss, 0);
      return false;
    }
    linear = static_cast<u32>(ss_.base + next);
  }
  if (!system_write(cpu_, linear, &value, bytes, m)) return false;
  sp_ = next;
  return true;
}

Combined combine(const Event& first, u8 second) {
  if (first.type != EventType::exception) return Combined::second;
  if (first.vector == v::df) return Combined::triple_fault;
  if (contributory(first.vector) && contributory(second)) return Combined::double_fault;
  if (first.vector == v::pf && (contributory(second) || second == v::pf)) return Combined::double_fault;
  return Combined::second;
}

tl::expected<void, Miss> deliver_once(Cpu& cpu, const Event& e, u64 rip) {
  if (!cpu.protected_mode()) return deliver_real(cpu, e, rip);
  const bool wide = cpu.long_mode();
  const u32 ext = software(e) ? 0 : 1;
  const u32 idt_error = u32{e.vector} * 8 | 2 | ext;
  const u32 gate_bytes = wide ? 16 : 8;
  if (u32{e.vector} * gate_bytes + gate_bytes - 1 > cpu.idtr.limit) return tl::unexpected(fault_miss(v::gp, idt_error));
  Descriptor gate;
  Miss m;
  if (!system_read(cpu, cpu.idtr.base + u64{e.vector} * gate_bytes, &gate, gate_bytes, m)) return tl::unexpected(m);
  if (!wide) gate.high = 0;
  gate.high &= 0xffff'ffff;

  const u32 type = gate.system() ? gate.type() : 0;
  const bool gate32 = type == system_type::interrupt_gate || type == system_type::trap_gate;
  const bool gate16 = !wide && (type == system_type::interrupt_gate16 || type == system_type::trap_gate16);
  const bool task = !wide && type == system_type::task_gate;
  if (!gate32 && !gate16 && !task) return tl::unexpected(fault_miss(v::gp, idt_error));
  if (software(e) && cpu.cpl > gate.dpl()) return tl::unexpected(fault_miss(v::gp, idt_error));
  if (!gate.present()) return tl::unexpected(fault_miss(v::np, idt_error));
  if (task) {
    // VMX takes every task switch to the hypervisor (SDM vol. 3C, table 28-2: source 3, the IDT).
    Miss exit{.is_exit = true, .fault = {}, .exit = {}};
    exit.exit.reason = ExitReason::task_switch;
    exit.exit.qualification = gate.gate_selector() | (u64{3} << 30);
    return tl::unexpected(exit);
  }

  const Selector cs{gate.gate_selector()};
  if (cs.null()) return tl::unexpected(fault_miss(v::gp, ext));
  auto code = TRY(read_descriptor(cpu, cs, false, v::gp, ext));
  if (!code.is_code() || code.dpl() > cpu.cpl) return tl::unexpected(fault_miss(v::gp, cs.error() | ext));
  if (wide && ((code.attributes() & attr::l) == 0 || (code.attributes() & attr::db) != 0)) {
    return tl::unexpected(fault_miss(v::gp, cs.error() | ext));
  }
  if (!code.present()) return tl::unexpected(fault_miss(v::np, cs.error() | ext));

  const unsigned new_cpl = code.conforming() ? cpu.cpl : code.dpl();
  const bool inner = new_cpl < cpu.cpl;
  const unsigned ist = wide ? gate.gate_ist() : 0;
  const unsigned size = wide ? 8 : (gate32 ? 4 : 2);
  Segment ss = cpu.seg[arch::seg_ss];
  u64 sp = cpu.gpr[arch::rsp];
  if (inner || ist != 0) {
    const auto stack = TRY(tss_stack(cpu, new_cpl, ist, ext));
    sp = stack.sp;
    if (wide) {
      if (!is_canonical(sp)) return tl::unexpected(fault_miss(v::ss, ext));
      if (inner) {
        ss = null_segment(static_cast<u16>(new_cpl));
        ss.attributes |= new_cpl << 5;
      }
    } else {
      ss = TRY(check_stack_segment(cpu, stack.ss, new_cpl, v::ts, ext));
    }
  } else if (!wide) {
    sp = (ss.attributes & attr::db) != 0 ? static_cast<u32>(sp) : static_cast<u16>(sp);
  }
  if (wide) sp &= ~u64{15};

  const u64 target = gate32 ? gate.gate_offset() : gate.gate_offset() & 0xffff;
  if (wide ? !is_canonical(target) : target > code.limit()) return tl::unexpected(fault_miss(v::gp, ext));

  StackWriter stack(cpu, ss, sp, wide);
  const bool saves_stack = wide || inner;
  if (saves_stack &&
      (!stack.push(cpu.seg[arch::seg_ss].selector, size, m) || !stack.push(cpu.gpr[arch::rsp], size, m))) {
    return tl::unexpected(m);
  }
  if (!stack.push(pushed_flags(cpu, e), size, m) || !stack.push(cpu.seg[arch::seg_cs].selector, size, m) ||
      !stack.push(rip, size, m) || (e.has_error && !stack.push(e.error, size, m))) {
    return tl::unexpected(m);
  }
  TRY(mark_accessed(cpu, cs, code));

  if (wide || (ss.attributes & attr::db) != 0) {
    cpu.gpr[arch::rsp] = wide ? stack.sp() : static_cast<u32>(stack.sp());
  } else {
    cpu.set_reg<u16>(arch::rsp, static_cast<u16>(stack.sp()));
  }
  cpu.seg[arch::seg_ss] = ss;
  cpu.seg[arch::seg_cs] = code.segment(static_cast<u16>((cs.value & ~3) | new_cpl));
  cpu.cpl = static_cast<u8>(new_cpl);
  cpu.rip = target;
  enter_handler_flags(cpu, type == system_type::interrupt_gate || type == system_type::interrupt_gate16);
  update_mode(cpu);
  return {};
}

}  // namespace cloister::silicon
