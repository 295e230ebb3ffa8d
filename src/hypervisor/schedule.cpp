// The bootstrap processor's loop runs on the calling thread, under either clock, and looks at the world outside.
#include "hypervisor/schedule.hpp"

#include <algorithm>
#include <deque>
#include <thread>

#include "hypervisor/vcpu.hpp"

namespace cloister::hypervisor {
namespace {

using Lock = VcpuLoop::Lock;
using Loops = std::deque<VcpuLoop>;

/// A lone processor's turn only bounds the time between two looks at the console.
constexpr u64 turn_alone = 1'000'000, turn_among_several = 50'000;

void run_on_threads(Machine& machine, Loops& loops) {
  std::vector<std::jthread> threads;
  for (VcpuLoop& loop : loops) {
    if (&loop == &loops.front()) continue;
    threads.emplace_back([&machine, &loop] {
      Lock lock(machine.lock);
      loop.run(lock);
    });
  }
  Lock lock(machine.lock);
  loops.front().run(lock);
}

/// All processors are halted: time goes on to the first timer, or input comes, or nothing ever will.
void pass_time(Machine& machine, VcpuLoop& outside, Lock& lock) {
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
  outside.wait_outside(lock, VcpuLoop::longest_wait);
}

void run_in_turns(Machine& machine, Loops& loops) {
  const u64 most = loops.size() == 1 ? turn_alone : turn_among_several;
  VcpuLoop& outside = loops.front();
  Lock lock(machine.lock);
  while (!machine.stop) {
    outside.poll_outside();
    outside.wait_while_held(lock);
    bool ran = false;
    for (VcpuLoop& loop : loops) ran |= loop.turn(lock, most);
    if (!ran && !machine.stop && !machine.paused) pass_time(machine, outside, lock);
  }
}

void show_crash(Machine& machine, VcpuLoop& outside, gdb::Debugger& debugger) {
  Lock lock(machine.lock);
  debugger.report_stop(*machine.processors[machine.stopped_by], gdb::signal_segv, false);
  const Stop crash = *std::exchange(machine.stop, std::nullopt);
  const u32 by = machine.stopped_by;
  while (debugger.stopped() && !machine.stop) outside.wait_outside(lock, VcpuLoop::longest_wait);
  machine.stop = crash;
  machine.stopped_by = by;
}

}  // namespace

Stop run_processors(Machine& machine, const RunOptions& options, gdb::Debugger* debugger) {
  Loops loops;
  for (const auto& processor : machine.processors) loops.emplace_back(*processor, options, debugger);
  machine.deterministic() ? run_in_turns(machine, loops) : run_on_threads(machine, loops);
  if (debugger != nullptr) {
    const bool died = machine.stop->ending == Ending::crashed || machine.stop->ending == Ending::halted;
    if (died) show_crash(machine, loops.front(), *debugger);
    debugger->report_end(machine.stop->ending == Ending::powered_off ? 0 : 1);
  }
  return *machine.stop;
}

}  // namespace cloister::hypervisor
