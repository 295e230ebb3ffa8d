// The run loop: between blocks it looks at what is due (kick, debug traps, windows, budget), finds the next block, lets
// its handlers run, and delivers what they raised. Priorities are those of SDM vol. 3A, table 6-2.
#include <algorithm>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/state/debug.hpp"
#include "silicon/state/dispatch.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

namespace f = arch::rflags;

// ------------------------------------------------------------------------------------------------ running

namespace {
/// Instructions of the running block that were counted when it was entered and did not run: it was left at `cpu.at`.
u64 not_run(const Cpu& cpu) {
  return cpu.at == nullptr ? 0
                           : cpu.block->count + cpu.block->prologue - static_cast<u64>(cpu.at - cpu.block->ops.data());
}
/// Exceptions proper, and those of INT3, INTO and INT1: what the exception bitmap is about.
bool is_exception(EventType type) {
  return type == EventType::exception || type == EventType::software_exception ||
         type == EventType::privileged_software;
}

/// What becomes CR2; an event that the hypervisor injects leaves CR2 alone (SDM vol. 3C, 27.6.1).
std::optional<u64> fault_address(const Fault& fault) {
  return fault.vector == arch::vector::pf ? std::optional{fault.address} : std::nullopt;
}

}  // namespace

u64 VcpuImpl::execute(Block& block, u64 slice) {
  slice_ = slice;
  cpu_.at = nullptr;
  cpu_.block = &block;
  cpu_.budget = static_cast<i64>(slice) - static_cast<i64>(block.count);
  cpu_.gpr[reg_rip_base] = cpu_.rip;
  const Op* const first = block.ops.data() + block.prologue;  // the look-up has made sure of what that checks
  engine_->run(cpu_, first);
  const u64 retired = static_cast<u64>(static_cast<i64>(slice) - cpu_.budget) - not_run(cpu_);
  if (cpu_.leave != Leave::jump) cpu_.rip = cpu_.rip_of(cpu_.at);
  slice_ = 0;
  cpu_.block = nullptr;
  retired_ += retired;
  if (config_.clock == ClockMode::deterministic) time_.advance(retired);
  return retired;
}

u64 VcpuImpl::running() const {
  if (slice_ == 0 || cpu_.block == nullptr) return 0;
  // Asked by an instruction of the running block (RDTSC): it has set `at` to itself.
  return static_cast<u64>(static_cast<i64>(slice_) - cpu_.budget) - not_run(cpu_);
}

bool VcpuImpl::interruptible() const {
  return (cpu_.system_flags & f::if_) != 0 && !cpu_.shadow && cpu_.pending_debug == 0 && !injected_;
}

bool VcpuImpl::one_by_one() const {
  const Segment& cs = cpu_.seg[arch::seg_cs];
  const bool flat = cpu_.code64 || (cs.base == 0 && cs.limit == 0xffff'ffff);
  return !flat || cpu_.shadow || controls_.monitor_trap || (cpu_.system_flags & (f::tf | f::rf)) != 0 ||
         (cpu_.dr7 & arch::dr7::enable_mask) != 0;
}

std::optional<Exit> VcpuImpl::deliver(Event event, u64 rip, std::optional<u64> address, bool injected) {
  std::optional<Event> vectoring;
  bool from_enclave = false;
  for (;;) {
    if (!injected && is_exception(event.type) && ((controls_.exception_bitmap >> event.vector) & 1) != 0) {
      Exit exit;
      exit.reason = ExitReason::exception_or_nmi;
      exit.interruption = event;
      exit.instruction_length = event.instruction_length;
      exit.vectoring = vectoring;
      exit.qualification = address.value_or(0);
      return exit;
    }
    if (cpu_.enclave.active) {
      asynchronous_exit(cpu_, package_, is_exception(event.type) ? &event : nullptr, address.value_or(0));
      rip = cpu_.rip;
      from_enclave = true;
      if (address) address = arch::page_base(*address);
    }
    if (address) cpu_.cr2 = *address;
    const auto delivered = deliver_once(cpu_, event, rip);
    if (delivered) {
      if (event.type == EventType::nmi) cpu_.nmi_blocked = true;
      cpu_.shadow = cpu_.shadow_ss = false;
      return std::nullopt;
    }
    const Miss& m = delivered.error();
    if (m.is_exit) {
      Exit exit = m.exit;
      exit.vectoring = event;
      exit.enclave = from_enclave;
      return exit;
    }
    injected = false;
    rip = cpu_.rip;  // a fault in delivering INT n is one of the INT n
    switch (combine(event, m.fault.vector)) {
      case Combined::triple_fault: {
        Exit exit;
        exit.reason = ExitReason::triple_fault;
        return exit;
      }
      case Combined::double_fault:
        // The page fault did happen: CR2 has its address.
        cpu_.cr2 = fault_address(m.fault).value_or(cpu_.cr2);
        address.reset();
        event = {arch::vector::df, EventType::exception, true, 0, 0};
        break;
      case Combined::second:
        vectoring = event;
        event = {m.fault.vector, EventType::exception, m.fault.has_error, m.fault.error, 0};
        address = fault_address(m.fault);
        break;
    }
  }
}

std::optional<Exit> VcpuImpl::raise(const Fault& fault) {
  return deliver({fault.vector, EventType::exception, fault.has_error && cpu_.protected_mode(), fault.error, 0},
                 cpu_.rip, fault_address(fault));
}

std::optional<Exit> VcpuImpl::take_debug_trap() {
  const u64 bits = std::exchange(cpu_.pending_debug, 0);
  // A VMX hypervisor that intercepts #DB finds the bits in the qualification; DR6 is its to update.
  if (((controls_.exception_bitmap >> arch::vector::db) & 1) == 0) {
    cpu_.dr6 = (cpu_.dr6 & ~u64{15}) | bits;
    cpu_.dr7 &= ~arch::dr7::gd;
    mmu_.update_context();
  }
  auto exit = raise({arch::vector::db, false, 0, 0});
  if (exit && exit->reason == ExitReason::exception_or_nmi) exit->qualification = bits;
  return exit;
}

std::optional<Exit> VcpuImpl::before_instruction(u64 left) {
  const auto exit_for = [](ExitReason reason) {
    Exit exit;
    exit.reason = reason;
    return exit;
  };
  if (cpu_.attention.load(std::memory_order_relaxed) && cpu_.attention.exchange(false)) {
    mmu_.attend();
    if (cpu_.kicked.exchange(false)) return exit_for(ExitReason::external_interrupt);
  }
  if (controls_.nmi_window && nmi_interruptible()) return exit_for(ExitReason::nmi_window);
  if (controls_.interrupt_window && interruptible()) return exit_for(ExitReason::interrupt_window);
  if (left == 0) return exit_for(ExitReason::preemption_timer);
  return std::nullopt;
}

Exit VcpuImpl::run(u64 budget) {
  struct Running {
    Mmu& mmu;
    explicit Running(Mmu& m) : mmu(m) { mmu.enter(); }
    ~Running() { mmu.leave(); }
  } running_now(mmu_);
  const u64 before = retired_;
  last_pause_.reset();
  Exit exit = run_until_exit(budget);
  EventCounts::add(package_.counts().instructions, retired_ - before);
  if (!cpu_.enclave.active) return exit;
  // A VM exit leaves the enclave first; it tells the page, not the offset, and nothing of the instruction (SDM vol. 3C,
  // 28.2.1 and vol. 3D, 37.2).
  asynchronous_exit(cpu_, package_, nullptr, 0);
  exit.enclave = true;
  exit.instruction_length = 0;
  exit.linear = Gva{arch::page_base(exit.linear.value)};
  exit.physical = Gpa{arch::page_base(exit.physical.value)};
  return exit;
}

Exit VcpuImpl::run_until_exit(u64 budget) {
  struct GuestFpu {
    Cpu& cpu;
    explicit GuestFpu(Cpu& c) : cpu(c) { enter_guest_fpu(cpu); }
    ~GuestFpu() { leave_guest_fpu(cpu); }
  } guest_fpu(cpu_);

  u64 left = std::min(budget, u64{1} << 62);
  bool alone = false;  ///< the next instruction is to be executed while the other processors are held
  if (injected_) {
    const Event event = *std::exchange(injected_, std::nullopt);
    // Software events return behind their instruction.
    const bool software =
        event.type != EventType::exception && event.type != EventType::external && event.type != EventType::nmi;
    const u64 rip = software ? cpu_.wrap(cpu_.rip + event.instruction_length) : cpu_.rip;
    if (auto exit = deliver(event, rip, std::nullopt, true)) return *exit;
  }
  for (;;) {
    if (cpu_.pending_debug != 0 && !cpu_.shadow_ss) {
      if (auto exit = take_debug_trap()) return *exit;
    }
    if (auto exit = before_instruction(left)) return *exit;

    const bool single = one_by_one();
    if (single && (cpu_.dr7 & arch::dr7::enable_mask) != 0 && (cpu_.system_flags & f::rf) == 0 && !cpu_.shadow_ss) {
      const u64 linear = cpu_.code64 ? cpu_.rip : static_cast<u32>(cpu_.rip + cpu_.seg[arch::seg_cs].base);
      if (const u64 bits = code_breakpoints(cpu_, linear); bits != 0) {
        cpu_.pending_debug |= bits;
        if (auto exit = take_debug_trap()) return *exit;
        --left;
        continue;
      }
    }
    if (!cpu_.code64 && cpu_.rip > cpu_.seg[arch::seg_cs].limit) {
      if (auto exit = raise({arch::vector::gp, true, 0, 0})) return *exit;
      --left;
      continue;
    }

    std::optional<Hold> hold;
    if (alone) hold.emplace(mmu_.memory().shootdown, mmu_);
    cpu_.alone = std::exchange(alone, false);
    const u64 slice = single || hold ? 1 : left;
    const auto found = blocks_.at(cpu_.rip, slice);
    if (!found) {
      const Miss& m = found.error();
      if (m.is_exit) return m.exit;
      if (auto exit = raise(m.fault)) return *exit;
      --left;
      continue;
    }

    const bool shadow = std::exchange(cpu_.shadow, false), shadow_ss = std::exchange(cpu_.shadow_ss, false);
    const bool stepping = (cpu_.system_flags & f::tf) != 0;
    const bool resumed = (cpu_.system_flags & f::rf) != 0;
    if (resumed) cpu_.system_flags &= ~f::rf;
    cpu_.no_step = false;
    const u64 retired = execute(**found, slice);
    hold.reset();
    cpu_.alone = false;
    // What retires nothing is paid for too, so that a guest whose faults recurse for ever still uses up its budget:
    // always, so that nobody can tell from a budget's end which blocks an engine ran without coming back here. Not what
    // is done in the next turn.
    const bool unretired = cpu_.leave == Leave::fault || cpu_.leave == Leave::part;
    left -= cpu_.leave == Leave::alone ? retired : std::max<u64>(retired + unretired, 1);

    switch (cpu_.leave) {
      case Leave::part:
      case Leave::jump:
        if (stepping && !cpu_.no_step) cpu_.pending_debug |= arch::dr6::bs;
        break;
      case Leave::fault:
        cpu_.pending_debug = 0;
        if (auto exit = raise(cpu_.fault)) return *exit;
        break;
      case Leave::software_event:
        if (auto exit = deliver(cpu_.event, cpu_.wrap(cpu_.rip + cpu_.event.instruction_length))) {
          exit->instruction_length = cpu_.event.instruction_length;
          return *exit;
        }
        break;
      case Leave::exit:
      case Leave::alone:
        // The instruction is not done: what its completion would end goes on.
        cpu_.shadow = shadow;
        cpu_.shadow_ss = shadow_ss;
        if (resumed) cpu_.system_flags |= f::rf;
        if (cpu_.leave == Leave::exit) return cpu_.exit;
        alone = true;
        continue;
    }
    if (controls_.monitor_trap) {
      Exit exit;
      exit.reason = ExitReason::monitor_trap_flag;
      return exit;
    }
  }
}

}  // namespace cloister::silicon
