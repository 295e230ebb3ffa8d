// Events follow SDM vol. 3A, table 6-2: what an exit interrupted comes first, then NMI, then external interrupts, which
// wait for an interrupt window (SDM vol. 3C, 27.2.5) if the guest cannot take them now.
//
// Under the deterministic clock one instruction is one cycle, so the budget ends exactly when the next timer is due.
// Under the host's clock the number of instructions until then is only estimated, from below.
#include "hypervisor/vcpu.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <span>

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor {
namespace {

using std::chrono::nanoseconds;
using vmx::Event;
using vmx::EventType;

constexpr u64 host_slice = 100'000, shortest_slice = 500;
/// Cycles of vmx::tsc_hz that an average instruction takes, estimated high so that a slice ends before its timer.
constexpr u64 cycles_per_instruction = 16;
/// What a processor that spins leaves to others, unless an interrupt comes for it.
constexpr nanoseconds spin_wait = std::chrono::microseconds(50);
constexpr u64 poll_interval = vmx::tsc_hz / 1000;
constexpr std::chrono::seconds between_presses(5);

constexpr nanoseconds time_of(u64 cycles) {
  return nanoseconds(static_cast<i64>(std::min<u64>(cycles, vmx::tsc_hz) * (1'000'000'000 / vmx::tsc_hz)));
}

int poll_for(std::span<pollfd> descriptors, nanoseconds longest) {
  const timespec limit{.tv_sec = static_cast<time_t>(longest.count() / 1'000'000'000),
                       .tv_nsec = static_cast<long>(longest.count() % 1'000'000'000)};
  return ppoll(descriptors.data(), descriptors.size(), &limit, nullptr);
}

}  // namespace

void VcpuLoop::run() {
  while (!machine_.stop) {
    if (bootstrap() && poll_is_due()) poll_outside();
    wait_while_held();
    if (machine_.stop) return;
    prepare();
    if (asleep()) {
      idle();
    } else {
      if (enter(host_budget()) == vmx::ExitReason::pause && !machine_.stop) wait(spin_wait);
    }
  }
}

bool VcpuLoop::turn(u64 most) {
  const u64 messages = machine_.messages;
  u64 used = 0;
  bool ran = false;
  while (!machine_.stop && !held() && used < most && machine_.messages == messages) {
    prepare();
    if (asleep() && !machine_.devices_wait()) break;
    if (asleep()) {  // what devices still do may end in an interrupt for it
      ++used;
      ran = true;
      continue;
    }
    const u64 budget = deterministic_budget(most - used), first = processor_.vcpu.instructions();
    const vmx::ExitReason reason = enter(budget);
    const bool used_up = reason == vmx::ExitReason::preemption_timer;
    // An exit alone is not for nothing, and faults without end use a budget up with no instruction retired.
    used += used_up ? budget : std::max<u64>(1, processor_.vcpu.instructions() - first);
    ran = true;
    if (reason == vmx::ExitReason::pause) break;
  }
  return ran;
}

void VcpuLoop::wait_while_held() {
  while (held() && !machine_.stop) wait_outside(longest_wait);
}

void VcpuLoop::prepare() {
  processor_.take_startup_messages();
  if (debugger_ != nullptr && debugger_->waiting() && debugger_->looks_at(processor_)) debugger_->settle();
  processor_.local_apic.advance(processor_.now());
  machine_.rtc.advance(processor_.now());
  if (machine_.deterministic()) machine_.serve_devices();
  prepare_events();
}

void VcpuLoop::queue(const Event& event) {
  processor_.event = event;
  if (machine_.trace.wants().interrupts)
    machine_.trace.line(processor_.now(), "interrupt", "inject vector={:#x} type={}", event.vector,
                        static_cast<unsigned>(event.type));
}

void VcpuLoop::prepare_events() {
  auto& apic = processor_.local_apic;
  bool nmi_window = false, interrupt_window = false;
  const bool trap = stepping();
  const bool hold = trap && !processor_.halted;  // a debugger's step goes to the next instruction, not into a handler
  if (apic.take_nmi() && !processor_.waits_for_startup) processor_.nmi_waiting = true;
  if (processor_.nmi_waiting && !hold) {
    if (!processor_.event && processor_.vcpu.nmi_interruptible()) {
      processor_.nmi_waiting = false;
      queue({.vector = arch::vector::nmi, .type = EventType::nmi});
    } else {
      nmi_window = true;
    }
  }
  if (!processor_.waits_for_startup && apic.pending() && !hold) {
    if (!processor_.event && processor_.vcpu.interruptible()) {
      queue({.vector = apic.acknowledge(), .type = EventType::external});
    } else {
      interrupt_window = true;
    }
  }
  if (processor_.event) processor_.halted = false;
  auto& controls = processor_.controls;
  if (controls.interrupt_window != interrupt_window || controls.nmi_window != nmi_window ||
      controls.monitor_trap != trap || controls.exception_bitmap != machine_.exception_bitmap ||
      controls.epc_virtualization != machine_.epc_virtualization) {
    controls.monitor_trap = trap;
    controls.interrupt_window = interrupt_window;
    controls.nmi_window = nmi_window;
    controls.exception_bitmap = machine_.exception_bitmap;
    controls.epc_virtualization = machine_.epc_virtualization;
    processor_.vcpu.set_controls(controls);
  }
}

std::optional<u64> VcpuLoop::next_deadline() const {
  const auto own = processor_.local_apic.next_deadline(), clock = machine_.rtc.next_deadline();
  return own && clock ? std::min(own, clock) : own ? own : clock;
}

u64 VcpuLoop::host_budget() {
  if (debugger_ != nullptr && debugger_->waiting()) return shortest_slice;
  const auto deadline = next_deadline();
  if (!deadline) return host_slice;
  const u64 now = processor_.now();
  const u64 left = *deadline > now ? (*deadline - now) / cycles_per_instruction : 0;
  return std::clamp(left, shortest_slice, host_slice);
}

u64 VcpuLoop::deterministic_budget(u64 most) {
  if (debugger_ != nullptr && debugger_->waiting()) return shortest_slice;
  const auto deadline = next_deadline();
  const u64 now = processor_.now();
  return deadline ? std::min(*deadline > now ? *deadline - now : 1, most) : most;
}

vmx::ExitReason VcpuLoop::enter(u64 budget) {
  if (processor_.event) {
    processor_.vcpu.inject(*processor_.event);
    processor_.event.reset();
  }
  processor_.completed = false;
  processor_.activity = Processor::Activity::running;
  processor_.root_leaves_at_entry = machine_.root_leaves.ended();
  const vmx::Exit exit = run_guest(budget);
  processor_.activity = Processor::Activity::handling;
  if (machine_.held()) machine_.left_guest_.notify_all();
  auto stop = handle(exit);
  if (!stop && std::exchange(machine_.sleep_asked, false)) stop = machine_.fall_asleep();
  if (stop) {
    machine_.end(std::move(*stop), processor_);
  } else if (stepping()) {
    after_step(exit);
  }
  if (options_.after_exit) {
    const MutexUnlock apart(machine_.lock);
    options_.after_exit();
  }
  return exit.reason;
}

vmx::Exit VcpuLoop::run_guest(u64 budget) {
  const MutexUnlock apart(machine_.lock);
  const vmx::Exit exit = processor_.vcpu.run(budget);
  count(exit);
  return exit;
}

void VcpuLoop::count(const vmx::Exit& exit) {
  if (options_.counts == nullptr) return;
  const u64 retired = processor_.vcpu.instructions();
  options_.counts->instructions.fetch_add(retired - counted_, std::memory_order_relaxed);
  options_.counts->count(exit.reason);
  counted_ = retired;
}

/// A step ends with the monitor trap, or with an instruction that an exit handler completed.
void VcpuLoop::after_step(const vmx::Exit& exit) {
  if (exit.reason == vmx::ExitReason::monitor_trap_flag || processor_.completed)
    debugger_->report_stop(processor_, gdb::signal_trap, false);
}

std::optional<Stop> VcpuLoop::handle(const vmx::Exit& exit) {
  if (exit.reason != vmx::ExitReason::preemption_timer) {
    const u64 rip = processor_.vcpu.general().rip;
    processor_.exits.add({processor_.now(), rip, exit});
    if (machine_.trace.wants().exits)
      machine_.trace.line(processor_.now(), "exit", "{} rip={:#x} qualification={:#x} linear={:#x} physical={:#x}",
                          vmx::name_of(exit.reason), rip, exit.qualification, exit.linear.value, exit.physical.value);
  }
  if (exit.vectoring) processor_.event = exit.vectoring;
  if (exit.reason == vmx::ExitReason::exception_or_nmi && exit.interruption.vector == arch::vector::bp &&
      debugger_ != nullptr && debugger_->at_breakpoint(processor_)) {
    // If another processor has stopped already, this one comes back to its breakpoint when the guest goes on.
    if (!debugger_->stopped()) debugger_->report_stop(processor_, gdb::signal_trap, true);
    return std::nullopt;
  }
  const exits::Handler handler = exits::handler_of(exit.reason);
  return handler(processor_, exit);
}

bool VcpuLoop::poll_is_due() {
  const u64 now = processor_.now();
  if (now < next_poll_) return false;
  next_poll_ = now + poll_interval;
  return true;
}

void VcpuLoop::poll_outside() {
  machine_.console.flush();
  if (options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed))
    return machine_.end({Ending::stopped, ""}, processor_);
  follow_shutdown();
  if (options_.timeout && Clock::now() - started_ >= *options_.timeout)
    return machine_.end({Ending::timed_out, ""}, processor_);
  wait(nanoseconds::zero());
  if (debugger_ != nullptr && debugger_->killed()) machine_.end({Ending::stopped, ""}, processor_);
}

void VcpuLoop::follow_shutdown() {
  if (options_.shutdown == nullptr || !options_.shutdown->load(std::memory_order_relaxed)) return;
  const Clock::time_point now = Clock::now();
  if (!button_pressed_) {
    button_pressed_ = next_press_ = now;
    was_asleep_ = machine_.sleep != Machine::Sleep::awake;
    if (machine_.note) machine_.note("its power button was pressed");
  }
  if (now >= next_press_) {
    machine_.press_power_button();
    // The press that wakes a guest is for nothing else, and it clears what comes before it has its devices back.
    next_press_ = was_asleep_ ? now + between_presses : Clock::time_point::max();
  }
  if (now - *button_pressed_ >= options_.shutdown_timeout) machine_.end({Ending::stopped, ""}, processor_);
}

void VcpuLoop::wait_outside(nanoseconds longest) {
  wait(longest);
  if (bootstrap() && !machine_.stop) poll_outside();
}

void VcpuLoop::wait(nanoseconds longest) {
  const bool guest_waits = machine_.held() || (debugger_ != nullptr && debugger_->stopped());
  const bool sleeps = machine_.sleep == Machine::Sleep::asleep && !machine_.paused;
  const bool console = bootstrap() && (!guest_waits || (sleeps && options_.input_wakes));
  std::array<pollfd, 3> descriptors{
      pollfd{.fd = console ? machine_.console.wanted(machine_.typed_backlog()) : -1, .events = POLLIN, .revents = 0},
      pollfd{.fd = bootstrap() && debugger_ != nullptr ? debugger_->descriptor() : -1, .events = POLLIN, .revents = 0},
      pollfd{.fd = processor_.wake_descriptor(), .events = POLLIN, .revents = 0}};
  const bool looks = longest == nanoseconds::zero();
  if (looks && descriptors[0].fd < 0 && descriptors[1].fd < 0) return;
  int ready = 0;
  if (looks) {
    ready = poll_for(descriptors, longest);
  } else {
    processor_.activity = Processor::Activity::waiting;
    if (machine_.held()) machine_.left_guest_.notify_all();
    {
      const MutexUnlock apart(machine_.lock);
      ready = poll_for(descriptors, longest);
    }
    processor_.activity = Processor::Activity::handling;
  }
  if (ready <= 0) return;
  if (descriptors[2].revents != 0) processor_.drain();
  if (descriptors[0].revents != 0 && !(sleeps && machine_.console.at_end())) {
    if (!machine_.wake())
      machine_.console.receive([this](std::span<const u8> bytes)
                                   CLOISTER_REQUIRES(machine_.lock) { machine_.typed(bytes); });
  }
  if (descriptors[1].revents != 0) debugger_->service();
}

void VcpuLoop::idle() {
  const bool startup = processor_.waits_for_startup;
  const bool interrupts_on = !startup && (processor_.vcpu.general().rflags & arch::rflags::if_) != 0;
  const auto deadline = interrupts_on ? next_deadline() : std::nullopt;
  processor_.stuck = !interrupts_on || (!deadline && !machine_.console.open() && !machine_.devices_wait());
  const bool all_stuck = std::ranges::all_of(machine_.processors, [](const auto& p) { return p->stuck; });
  if (all_stuck)
    return machine_.end({Ending::halted, interrupts_on ? "halted for good: no timer runs and no input can come"
                                                       : "halted for good: interrupts are off"},
                        processor_);
  if (bootstrap()) poll_outside();
  if (machine_.stop) return;
  const u64 now = processor_.now();
  nanoseconds until = !deadline ? time_of(vmx::tsc_hz) : *deadline > now ? time_of(*deadline - now) : nanoseconds(0);
  if (bootstrap()) until = std::min(until, longest_wait);
  if (until > nanoseconds::zero()) wait(until);
  processor_.stuck = false;
}

}  // namespace cloister::hypervisor
