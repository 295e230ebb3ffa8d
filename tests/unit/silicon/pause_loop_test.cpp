// PAUSE-loop exiting (SDM vol. 3C, 26.1.3), under the clock in which an instruction takes a cycle.
#include <gtest/gtest.h>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/silicon.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {
namespace {

class PauseLoop : public testing::Test {
 protected:
  static constexpr u64 code = 0x1000;

  PauseLoop() {
    EXPECT_TRUE(memory_.map_ram(arch::Gpa{0}, 0x10000));
    constexpr std::array<u8, 5> loop{0xf3, 0x90, 0x90, 0xeb, 0xfb};  // 1: pause; nop; jmp 1b
    EXPECT_TRUE(memory_.write(arch::Gpa{code}, std::as_bytes(std::span(loop))));
    Cpu& cpu = vcpu_.impl().cpu();
    cpu.seg[arch::seg_cs].base = 0;
    cpu.rip = code;
    update_mode(cpu);
  }
  Exit run(std::optional<PauseLoopExiting> control, u64 budget = 5000) {
    Controls controls;
    controls.pause_loop_exiting = control;
    vcpu_.set_controls(controls);
    return vcpu_.run(budget);
  }

  Package package_{Package::Config{}};
  GuestMemory memory_;
  Vcpu vcpu_{package_, memory_, Vcpu::Config{.clock = ClockMode::deterministic}};
};

TEST_F(PauseLoop, ExitsWhenItHasLastedLongerThanTheWindow) {
  const Exit exit = run(PauseLoopExiting{.gap = 10, .window = 1000});
  EXPECT_EQ(exit.reason, ExitReason::pause);
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 40u);
  EXPECT_EQ(exit.instruction_length, 2u);
  EXPECT_EQ(vcpu_.general().rip, code) << "the PAUSE is not done";
  EXPECT_GT(vcpu_.tsc(), 1000u);
  EXPECT_LT(vcpu_.tsc(), 1010u);
}

TEST_F(PauseLoop, EndsWithALongerTimeBetweenTwo) {
  EXPECT_EQ(run(PauseLoopExiting{.gap = 2, .window = 1000}).reason, ExitReason::preemption_timer);
  EXPECT_EQ(run(PauseLoopExiting{.gap = 3, .window = 1000}).reason, ExitReason::pause);
}

TEST_F(PauseLoop, BeginsAnewWithEachEntry) {
  const PauseLoopExiting control{.gap = 10, .window = 1000};
  EXPECT_EQ(run(control).reason, ExitReason::pause);
  const u64 left = vcpu_.tsc();
  EXPECT_EQ(run(control).reason, ExitReason::pause);
  EXPECT_GT(vcpu_.tsc(), left + 1000);
}

TEST_F(PauseLoop, IsNoneWithoutTheControl) { EXPECT_EQ(run(std::nullopt).reason, ExitReason::preemption_timer); }

TEST_F(PauseLoop, IsNoneOutsideOfRingZero) {
  Cpu& cpu = vcpu_.impl().cpu();
  cpu.cr0 |= arch::cr0::pe;
  cpu.seg[arch::seg_cs].attributes |= attr::dpl;
  cpu.cpl = 3;
  update_mode(cpu);
  EXPECT_EQ(run(PauseLoopExiting{.gap = 10, .window = 1000}).reason, ExitReason::preemption_timer);
}

}  // namespace
}  // namespace cloister::silicon
