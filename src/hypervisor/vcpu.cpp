// Events follow SDM vol. 3A, table 6-2: what an exit interrupted comes first, then NMI, then external interrupts, which
// wait for an interrupt window (SDM vol. 3C, 27.2.5) if the guest cannot take them now.
//
// Under the deterministic clock one instruction is one cycle, so the budget ends exactly when the next timer is due.
// Under the host's clock the number of instructions until then is only estimated, from below.
#include "hypervisor/vcpu.hpp"

#include <poll.h>

#include <algorithm>
#include <array>

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor {
namespace {

using silicon::Event;
using silicon::EventType;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr u64 host_slice = 100'000, deterministic_slice = 1'000'000, shortest_slice = 500;
/// Cycles of silicon::tsc_hz that an average instruction takes, estimated high so that a slice ends before its timer.
constexpr u64 cycles_per_instruction = 16;
constexpr u64 poll_interval = silicon::tsc_hz / 1000;
constexpr nanoseconds longest_wait = milliseconds(50);  // the stop flag has no descriptor to wait on

constexpr nanoseconds time_of(u64 cycles) {
  return nanoseconds(static_cast<i64>(std::min<u64>(cycles, silicon::tsc_hz) * (1'000'000'000 / silicon::tsc_hz)));
}

}  // namespace

Stop VcpuLoop::run() {
  Stop stop = run_guest();
  if (debugger_ != nullptr) {
    if (stop.ending == Ending::crashed) {
      debugger_->report_stop(gdb::signal_segv, false);
      while (debugger_->stopped() && !wait_for_debugger()) {
      }
    }
    debugger_->report_end(stop.ending == Ending::powered_off ? 0 : 1);
  }
  return stop;
}

std::optional<Stop> VcpuLoop::wait_for_debugger() {
  wait_for_input(longest_wait);
  return poll_outside();
}

Stop VcpuLoop::run_guest() {
  for (;;) {
    if (poll_is_due())
      if (auto stop = poll_outside()) return *stop;
    if (debugger_ != nullptr) {
      while (debugger_->stopped())
        if (auto stop = wait_for_debugger()) return *stop;
      if (debugger_->waiting()) debugger_->settle();
    }
    machine_.local_apic.advance(machine_.now());
    prepare_events();
    if (auto stop = machine_.halted ? idle() : enter()) return *stop;
  }
}

void VcpuLoop::queue(const Event& event) {
  machine_.event = event;
  if (machine_.trace.wants().interrupts)
    machine_.trace.line(machine_.now(), "interrupt", "inject vector={:#x} type={}", event.vector,
                        static_cast<unsigned>(event.type));
}

void VcpuLoop::prepare_events() {
  auto& apic = machine_.local_apic;
  bool nmi_window = false, interrupt_window = false;
  const bool trap = stepping();
  const bool hold = trap && !machine_.halted;  // a debugger's step goes to the next instruction, not into a handler
  if (apic.take_nmi()) nmi_waiting_ = true;
  if (nmi_waiting_ && !hold) {
    if (!machine_.event && machine_.vcpu.nmi_interruptible()) {
      nmi_waiting_ = false;
      queue({.vector = arch::vector::nmi, .type = EventType::nmi});
    } else {
      nmi_window = true;
    }
  }
  if (apic.pending() && !hold) {
    if (!machine_.event && machine_.vcpu.interruptible()) {
      queue({.vector = apic.acknowledge(), .type = EventType::external});
    } else {
      interrupt_window = true;
    }
  }
  if (machine_.event) machine_.halted = false;
  auto& controls = machine_.controls;
  if (controls.interrupt_window != interrupt_window || controls.nmi_window != nmi_window ||
      controls.monitor_trap != trap) {
    controls.monitor_trap = trap;
    controls.interrupt_window = interrupt_window;
    controls.nmi_window = nmi_window;
    machine_.vcpu.set_controls(controls);
  }
}

u64 VcpuLoop::budget() {
  if (debugger_ != nullptr && debugger_->waiting()) return shortest_slice;
  const auto deadline = machine_.local_apic.next_deadline();
  const u64 now = machine_.now();
  if (machine_.deterministic()) {
    const u64 left = deadline ? (*deadline > now ? *deadline - now : 1) : deterministic_slice;
    return std::min(left, deterministic_slice);
  }
  if (!deadline) return host_slice;
  const u64 left = *deadline > now ? (*deadline - now) / cycles_per_instruction : 0;
  return std::clamp(left, shortest_slice, host_slice);
}

std::optional<Stop> VcpuLoop::enter() {
  if (machine_.event) {
    machine_.vcpu.inject(*machine_.event);
    machine_.event.reset();
  }
  machine_.completed = false;
  const silicon::Exit exit = machine_.vcpu.run(budget());
  const auto stop = handle(exit);
  if (!stop && stepping()) after_step(exit);
  return stop;
}

/// A step ends with the monitor trap, or with an instruction that an exit handler completed.
void VcpuLoop::after_step(const silicon::Exit& exit) {
  if (exit.reason == silicon::ExitReason::monitor_trap_flag || machine_.completed)
    debugger_->report_stop(gdb::signal_trap, false);
}

std::optional<Stop> VcpuLoop::handle(const silicon::Exit& exit) {
  if (exit.reason != silicon::ExitReason::preemption_timer) {
    const u64 rip = machine_.vcpu.general().rip;
    machine_.exits.add({machine_.now(), rip, exit});
    if (machine_.trace.wants().exits)
      machine_.trace.line(machine_.now(), "exit", "{} rip={:#x} qualification={:#x} linear={:#x} physical={:#x}",
                          silicon::name_of(exit.reason), rip, exit.qualification, exit.linear.value,
                          exit.physical.value);
  }
  if (exit.vectoring) machine_.event = exit.vectoring;
  if (exit.reason == silicon::ExitReason::exception_or_nmi && exit.interruption.vector == arch::vector::bp &&
      debugger_ != nullptr && debugger_->at_breakpoint()) {
    debugger_->report_stop(gdb::signal_trap, true);
    return std::nullopt;
  }
  const exits::Handler handler = exits::handler_of(exit.reason);
  if (handler == nullptr) return Stop{Ending::crashed, std::string("unhandled exit ") + silicon::name_of(exit.reason)};
  return handler(machine_, exit);
}

bool VcpuLoop::poll_is_due() {
  if (machine_.deterministic()) return true;  // once a slice; a slice is long
  const u64 now = machine_.now();
  if (now < next_poll_) return false;
  next_poll_ = now + poll_interval;
  return true;
}

std::optional<Stop> VcpuLoop::poll_outside() {
  machine_.console.flush();
  if (options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed)) return Stop{Ending::stopped, ""};
  if (options_.timeout && Clock::now() - started_ >= *options_.timeout) return Stop{Ending::timed_out, ""};
  wait_for_input(nanoseconds::zero());
  if (debugger_ != nullptr && debugger_->killed()) return Stop{Ending::stopped, ""};
  return std::nullopt;
}

void VcpuLoop::wait_for_input(nanoseconds wait) {
  const bool guest_waits = debugger_ != nullptr && debugger_->stopped();
  std::array<pollfd, 2> descriptors{
      pollfd{.fd = guest_waits ? -1 : machine_.console.wanted(machine_.uart), .events = POLLIN, .revents = 0},
      pollfd{.fd = debugger_ != nullptr ? debugger_->descriptor() : -1, .events = POLLIN, .revents = 0}};
  const bool none = descriptors[0].fd < 0 && descriptors[1].fd < 0;
  if (none && wait == nanoseconds::zero()) return;
  const timespec limit{.tv_sec = static_cast<time_t>(wait.count() / 1'000'000'000),
                       .tv_nsec = static_cast<long>(wait.count() % 1'000'000'000)};
  if (ppoll(descriptors.data(), descriptors.size(), &limit, nullptr) <= 0) return;
  if (descriptors[0].revents != 0) machine_.console.receive(machine_.uart);
  if (descriptors[1].revents != 0) debugger_->service();
}

std::optional<Stop> VcpuLoop::idle() {
  const bool interrupts_on = (machine_.vcpu.general().rflags & arch::rflags::if_) != 0;
  const auto deadline = machine_.local_apic.next_deadline();
  if (!interrupts_on || (!deadline && !machine_.console.open()))
    return Stop{Ending::crashed, interrupts_on ? "halted for good: no timer runs and no input can come"
                                               : "halted for good: interrupts are off"};
  if (auto stop = poll_outside()) return stop;
  if (machine_.deterministic() && deadline) {
    machine_.vcpu.skip_to(*deadline);
    return std::nullopt;
  }
  const u64 now = machine_.now();
  const nanoseconds until = !deadline ? longest_wait : *deadline > now ? time_of(*deadline - now) : nanoseconds::zero();
  if (until > nanoseconds::zero()) wait_for_input(std::min(until, longest_wait));
  return std::nullopt;
}

}  // namespace cloister::hypervisor
