// The bootstrap processor's loop runs on the calling thread, under either clock, and looks at the world outside.
#include "hypervisor/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <deque>
#include <system_error>
#include <thread>

#include "hypervisor/vcpu.hpp"

namespace cloister::hypervisor {
namespace {

using Loops = std::deque<VcpuLoop>;

/// A lone processor's turn only bounds the time between two looks at the console.
constexpr u64 turn_alone = 1'000'000, turn_among_several = 50'000;

/// The loops are the machine's: who has its lock has theirs, which is the same.
void is_of([[maybe_unused]] const Machine& machine, [[maybe_unused]] const VcpuLoop& loop)
    CLOISTER_REQUIRES(machine.lock) CLOISTER_ASSERT_CAPABILITY(loop.lock()) {
  assert(&loop.lock() == &machine.lock);
}

/// Without a thread for each processor and each device the domain ends, which those see that have one.
void run_on_threads(Machine& machine, Loops& loops, const std::function<void(u32 vcpu)>& begins) {
  std::vector<std::jthread> devices, threads;
  std::atomic<bool> over{false};
  std::jthread epc;
  std::string whose;  // thread comes next
  u32 processor = 0;
  const auto start = [&machine, &devices, &whose](auto& device, std::string name) {
    whose = std::move(name);
    devices.emplace_back([&machine, served = &device] {
      const MutexLock held(machine.lock);
      machine.serve(*served);
    });
  };
  try {
    for (std::size_t i = 0; i < machine.disks.size(); ++i) start(*machine.disks[i], fmt::format("disk {}", i));
    for (std::size_t i = 0; i < machine.interfaces.size(); ++i)
      start(*machine.interfaces[i], fmt::format("network interface {}", i));
    if (machine.virtio_console != nullptr) start(*machine.virtio_console, "the virtio console");
    if (machine.rng != nullptr) start(*machine.rng, "the source of random bytes");
    if (machine.vsock != nullptr) start(*machine.vsock, "vsock");
    if (machine.fixed_mover != nullptr && !machine.fixed_mover->pager().all_here()) {
      whose = "EPC that comes late";
      epc = std::jthread([&machine, &over] { machine.fixed_mover->pager().bring_all(over); });
    }
    for (VcpuLoop& loop : loops) {
      if (&loop == &loops.front()) continue;
      processor = static_cast<u32>(threads.size() + 1);
      whose = fmt::format("vCPU {}", processor);
      threads.emplace_back([&loop, &begins, vcpu = processor] {
        if (begins) begins(vcpu);
        const MutexLock held(loop.lock());
        loop.run();
      });
    }
  } catch (const std::system_error& error) {
    const MutexLock held(machine.lock);
    machine.end({Ending::crashed, fmt::format("the host has no thread for {}: {}", whose, error.what())},
                *machine.processors[processor]);
  }
  VcpuLoop& bootstrap = loops.front();
  if (begins) begins(0);
  const MutexLock held(bootstrap.lock());
  bootstrap.run();
  over = true;
}

/// All processors are halted: time goes on to the first timer, or input comes, or nothing ever will.
void pass_time(Machine& machine, VcpuLoop& outside) CLOISTER_REQUIRES(machine.lock, outside.lock()) {
  std::optional<u64> first;
  bool interrupts_on = false;
  for (const auto& p : machine.processors) {
    if (p->waits_for_startup || (p->vcpu.general().rflags & arch::rflags::if_) == 0) continue;
    interrupts_on = true;
    if (const auto deadline = machine.rtc.next_deadline()) first = std::min(first.value_or(*deadline), *deadline);
    if (const auto deadline = p->local_apic.next_deadline()) first = std::min(first.value_or(*deadline), *deadline);
  }
  if (first) return machine.bootstrap().vcpu.skip_to(*first);
  if (!interrupts_on || !machine.console.open())
    return machine.end({Ending::halted, interrupts_on ? "halted for good: no timer runs and no input can come"
                                                      : "halted for good: interrupts are off"},
                       machine.bootstrap());
  outside.wait_outside(VcpuLoop::longest_wait);
}

/// RunOptions::after_turns.
void tell(Machine& machine, const std::function<bool()>& after_turns) CLOISTER_REQUIRES(machine.lock) {
  if (!after_turns) return;
  bool goes_on = false;
  {
    const MutexUnlock apart(machine.lock);
    goes_on = after_turns();
  }
  if (!goes_on) machine.end({Ending::stopped, ""}, machine.bootstrap());
}

void run_in_turns(Machine& machine, Loops& loops, const RunOptions& options) {
  const u64 alone = options.turn_alone == 0 ? turn_alone : options.turn_alone;
  const u64 most = loops.size() == 1 ? alone : turn_among_several;
  VcpuLoop& outside = loops.front();
  const MutexLock held(machine.lock);
  is_of(machine, outside);
  while (!machine.stop) {
    outside.poll_outside();
    outside.wait_while_held();
    bool ran = false;
    for (VcpuLoop& loop : loops) {
      is_of(machine, loop);
      ran |= loop.turn(most);
    }
    if (!ran && !machine.stop && !machine.held()) pass_time(machine, outside);
    if (!machine.stop) tell(machine, options.after_turns);
  }
}

void show_crash(Machine& machine, VcpuLoop& outside, gdb::Debugger& debugger) CLOISTER_REQUIRES(machine.lock) {
  is_of(machine, outside);
  debugger.report_stop(*machine.processors[machine.stopped_by], gdb::signal_segv, false);
  const Stop crash = *std::exchange(machine.stop, std::nullopt);
  const u32 by = machine.stopped_by;
  while (debugger.stopped() && !machine.stop) outside.wait_outside(VcpuLoop::longest_wait);
  machine.stop = crash;
  machine.stopped_by = by;
}

}  // namespace

Stop run_processors(Machine& machine, const RunOptions& options, gdb::Debugger* debugger) {
  Loops loops;
  for (const auto& processor : machine.processors) loops.emplace_back(*processor, options, debugger);
  if (machine.deterministic()) {
    if (options.begins) options.begins(0);
    run_in_turns(machine, loops, options);
  } else {
    run_on_threads(machine, loops, options.begins);
  }
  Stop stop;
  {
    const MutexLock held(machine.lock);
    const bool died = machine.stop->ending == Ending::crashed || machine.stop->ending == Ending::halted;
    if (died && debugger != nullptr) show_crash(machine, loops.front(), *debugger);
    stop = *machine.stop;
  }
  if (debugger != nullptr) debugger->report_end(stop.ending == Ending::powered_off ? 0 : 1);
  return stop;
}

}  // namespace cloister::hypervisor
