// When an NMI can be delivered: not while one is in service (SDM vol. 3A, 6.7.1), and not in the shadow of MOV SS
// (6.8.3), in which the stack is half switched, or of STI; VM entry refuses to inject it there (vol. 3C, 27.3.1.5).
#include "long_mode_machine.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x1000;

class Nmi : public testing::Test {
 protected:
  /// Runs to the NMI window, or so many instructions.
  Exit run(bool window, u64 instructions) {
    Controls controls;
    controls.nmi_window = window;
    processor_.vcpu.set_controls(controls);
    return processor_.vcpu.run(instructions);
  }
  u64 rip() const { return processor_.vcpu.general().rip; }

  /// The second instruction has a shadow, and what lies at `behind` is one byte in it.
  void waits_behind(u64 behind) {
    EXPECT_EQ(run(false, 2).reason, ExitReason::preemption_timer);
    EXPECT_EQ(rip(), behind);
    EXPECT_FALSE(processor_.vcpu.nmi_interruptible());
    EXPECT_EQ(run(true, 100).reason, ExitReason::nmi_window);
    EXPECT_EQ(rip(), behind + 1);
    EXPECT_TRUE(processor_.vcpu.nmi_interruptible());
  }

  LongModeMachine machine_;
  LongModeMachine::Processor processor_{machine_, code};
};

TEST_F(Nmi, WaitsForTheEndOfMovSs) {
  machine_.put_bytes(code, {0x31, 0xc0, 0x8e, 0xd0, 0x90, 0x90});  // xor eax, eax; mov ss, eax; nop; nop
  waits_behind(code + 4);
}

TEST_F(Nmi, WaitsForTheEndOfSti) {
  machine_.put_bytes(code, {0x66, 0x90, 0xfb, 0x90, 0x90});  // nop; sti; nop; nop
  waits_behind(code + 3);
}

TEST_F(Nmi, WaitsForIret) {
  machine_.put_bytes(code, {0x90, 0xf4});  // nop; hlt
  processor_.cpu.nmi_blocked = true;
  EXPECT_FALSE(processor_.vcpu.nmi_interruptible());
  EXPECT_EQ(run(true, 100).reason, ExitReason::hlt);
}

}  // namespace
}  // namespace cloister::silicon
