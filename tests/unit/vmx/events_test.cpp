// Events: injected ones, the guest's own, windows and shadows, and exits in the middle of a delivery (SDM vol.
// 3C, 25.8.3, 26.2, 27.6, 28.2.4; vol. 3A, 6.8 and 6.14).
#include "guest.hpp"

namespace cloister::vmx {
namespace {

namespace f = arch::rflags;
namespace v = arch::vector;

class Events : public OneProcessor {
 protected:
  static GeneralRegs with(u64 flags) {
    GeneralRegs regs;
    regs.rflags |= flags;
    return regs;
  }
  /// Runs `nop; hlt` after the injection.
  Exit inject(const Event& event, u64 flags = f::if_) {
    vcpu_->inject(event);
    return run({0x90, 0xf4}, with(flags));
  }
  void control(bool Controls::*one) {
    Controls controls;
    controls.*one = true;
    vcpu_->set_controls(controls);
  }
};

TEST_P(Events, AnExternalInterrupt) {
  const Frame frame = expect_delivered(inject({0x40, EventType::external}), 0x40);
  EXPECT_EQ(frame.rip, code) << "before any instruction";
  EXPECT_EQ(frame.cs, code_selector);
  EXPECT_EQ(frame.rflags, f::fixed1 | f::if_);
  EXPECT_EQ(frame.rsp, stack);
  EXPECT_EQ(frame.ss, data_selector);
  EXPECT_EQ(vcpu_->general().rflags & f::if_, 0u) << "an interrupt gate";
  complete(resume());
  EXPECT_NE(resume().reason, ExitReason::external_interrupt) << "once";
}

TEST_P(Events, AnExceptionWithItsErrorCode) {
  const Frame frame = expect_delivered(inject({v::gp, EventType::exception, true, 0x1238}), v::gp, 0x1238);
  EXPECT_EQ(frame.rip, code);
  EXPECT_EQ(frame.rflags & f::rf, f::rf) << "a fault's";
}

TEST_P(Events, AnExceptionWithoutOne) {
  EXPECT_EQ(expect_delivered(inject({v::ud, EventType::exception}), v::ud).rip, code);
}

TEST_P(Events, AnInjectedPageFaultLeavesCr2) {
  SystemRegs system = long_mode();
  system.cr2 = 0x1234;
  vcpu_->set_system(system);
  expect_delivered(inject({v::pf, EventType::exception, true, 2}), v::pf, 2);
  EXPECT_EQ(vcpu_->system().cr2, 0x1234u);
}

TEST_P(Events, ASoftwareEventReturnsBehindItsInstruction) {
  EXPECT_EQ(expect_delivered(inject({0x80, EventType::software_interrupt, false, 0, 2}), 0x80).rip, code + 2);
  EXPECT_EQ(expect_delivered(inject({v::bp, EventType::software_exception, false, 0, 1}), v::bp).rip, code + 1);
}

TEST_P(Events, AnInjectedOneIsNotIntercepted) {
  intercept({v::gp, v::ud});
  expect_delivered(inject({v::gp, EventType::exception, true, 0}), v::gp, 0);
  EXPECT_EQ(run({0x0f, 0x0b}).reason, ExitReason::exception_or_nmi) << "the guest's own is";
}

TEST_P(Events, AnNmiBlocksOthersUntilIret) {
  EXPECT_TRUE(vcpu_->nmi_interruptible());
  const Exit halted = inject({v::nmi, EventType::nmi}, 0);
  expect_delivered(halted, v::nmi);
  EXPECT_FALSE(vcpu_->nmi_interruptible());
  guest_.put_bytes(handler_of(v::nmi) + 1, std::initializer_list<u8>{0x48, 0xcf});  // iretq
  complete(halted);
  expect_halt_at(resume(), code + 1);
  EXPECT_TRUE(vcpu_->nmi_interruptible());
}

TEST_P(Events, TheGuestsOwn) {
  const Frame interrupt = expect_delivered(run({0xcd, 0x41}), 0x41);  // int 0x41
  EXPECT_EQ(interrupt.rip, code + 2);
  EXPECT_EQ(expect_delivered(run({0xcc}), v::bp).rip, code + 1);              // int3
  EXPECT_EQ(expect_delivered(run({0x90, 0x0f, 0x0b}), v::ud).rip, code + 1);  // nop; ud2
  GeneralRegs regs;
  regs.gpr[arch::rdi] = mapped_bytes + 0x123;
  expect_delivered(run({0x48, 0x89, 0x07}, regs), v::pf, arch::pfec::wr);  // mov [rdi], rax
  EXPECT_EQ(vcpu_->system().cr2, mapped_bytes + 0x123);
}

// ---- the exception bitmap

TEST_P(Events, AnInterceptedExceptionIsNotDelivered) {
  intercept({v::de, v::ud, v::bp, v::gp});
  struct Row {
    std::initializer_list<u8> bytes;
    Event event;
  };
  const Row rows[] = {
      {{0xf7, 0xf1}, {v::de, EventType::exception}},                      // div ecx
      {{0x0f, 0x0b}, {v::ud, EventType::exception}},                      // ud2
      {{0xcc}, {v::bp, EventType::software_exception, false, 0, 1}},      // int3
      {{0x8e, 0xd8}, {v::gp, EventType::exception, true, 0x1234 & ~3u}},  // mov ds, ax
  };
  GeneralRegs regs;
  regs.gpr[arch::rax] = 0x1234;
  for (const Row& row : rows) {
    const Exit exit = run(row.bytes, regs);
    EXPECT_EQ(static_cast<unsigned>(exit.reason), 0u);
    EXPECT_EQ(exit.interruption, row.event) << unsigned{row.event.vector};
    EXPECT_EQ(exit.instruction_length, row.event.instruction_length);
    EXPECT_EQ(exit.vectoring, std::nullopt);
    EXPECT_EQ(rip(), code);
    EXPECT_EQ(reg(arch::rsp), stack);
  }
  expect_delivered(run({0xcd, v::gp}), v::gp);  // INT n is no exception
}

TEST_P(Events, AnInterceptedPageFaultLeavesCr2) {
  intercept({v::pf});
  GeneralRegs regs;
  regs.gpr[arch::rdi] = mapped_bytes + 0x123;
  const Exit exit = run({0x48, 0x89, 0x07}, regs);
  EXPECT_EQ(exit.interruption, (Event{v::pf, EventType::exception, true, arch::pfec::wr, 0}));
  EXPECT_EQ(exit.qualification, mapped_bytes + 0x123) << "the linear address (28.2.1)";
  EXPECT_EQ(vcpu_->system().cr2, 0u);
}

/// Table 28-1: BS is bit 14.
TEST_P(Events, AnInterceptedSingleStepSaysWhichDebugException) {
  intercept({v::db});
  const Exit exit = run({0x90, 0xf4}, with(f::tf));
  EXPECT_EQ(exit.interruption.vector, v::db);
  EXPECT_EQ(exit.qualification, u64{1} << 14);
  EXPECT_EQ(rip(), code + 1);
  EXPECT_EQ(vcpu_->system().dr6, arch::dr6::fixed1) << "is the hypervisor's to update";
}

// ---- windows and shadows

TEST_P(Events, AWindowOpensWithTheInterruptFlag) {
  control(&Controls::interrupt_window);
  expect_halt_at(run({0x90, 0xf4}), code + 1);
  const Exit exit = run({0x90, 0xf4}, with(f::if_));
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 7u);
  EXPECT_EQ(rip(), code) << "at once";
  EXPECT_EQ(run({0x68, 0x02, 0x02, 0, 0, 0x9d, 0x90, 0xf4}).reason, ExitReason::interrupt_window);  // push 0x202; popf
  EXPECT_EQ(rip(), code + 6);
  EXPECT_EQ(run({0xfb, 0x90, 0xf4}).reason, ExitReason::interrupt_window);  // sti; nop; hlt
  EXPECT_EQ(rip(), code + 2) << "behind STI's shadow";
  vcpu_->set_controls({});
  expect_halt_at(run({0x90, 0xf4}, with(f::if_)), code + 1);
}

TEST_P(Events, AnExitInTheShadowKeepsIt) {
  control(&Controls::interrupt_window);
  const Exit exit = run({0xfb, 0xf4});  // sti; hlt
  expect_halt_at(exit, code + 1);
  EXPECT_FALSE(vcpu_->interruptible());
  complete(exit);
  EXPECT_TRUE(vcpu_->interruptible());
  EXPECT_EQ(resume().reason, ExitReason::interrupt_window);
}

TEST_P(Events, ShadowsEndWithTheNextInstruction) {
  control(&Controls::monitor_trap);
  GeneralRegs regs = with(f::if_);
  regs.gpr[arch::rax] = data_selector;
  run({0x8e, 0xd0, 0x90, 0xf4}, regs);  // mov ss, ax; nop
  EXPECT_EQ(rip(), code + 2);
  EXPECT_FALSE(vcpu_->interruptible());
  EXPECT_FALSE(vcpu_->nmi_interruptible());
  resume();
  EXPECT_TRUE(vcpu_->interruptible());
  EXPECT_TRUE(vcpu_->nmi_interruptible());
  run({0xfb, 0x90, 0xf4});  // sti; nop
  EXPECT_FALSE(vcpu_->interruptible());
  EXPECT_FALSE(vcpu_->nmi_interruptible());
  vcpu_->clear_interrupt_shadow();
  EXPECT_TRUE(vcpu_->interruptible());
  EXPECT_TRUE(vcpu_->nmi_interruptible());
}

TEST_P(Events, InterruptibleIsWhatTheFlagAndTheQueueSay) {
  run({0xf4});
  EXPECT_FALSE(vcpu_->interruptible());
  run({0xf4}, with(f::if_));
  EXPECT_TRUE(vcpu_->interruptible());
  vcpu_->inject({0x40, EventType::external});
  EXPECT_FALSE(vcpu_->interruptible()) << "one waits";
  expect_delivered(resume(), 0x40);
  EXPECT_FALSE(vcpu_->interruptible());
}

TEST_P(Events, AnNmiWindowOpensWithIret) {
  control(&Controls::nmi_window);
  EXPECT_EQ(static_cast<unsigned>(run({0x90, 0xf4}).reason), 8u);
  EXPECT_EQ(rip(), code) << "at once";
  guest_.put_bytes(handler_of(v::nmi), std::initializer_list<u8>{0x90, 0x48, 0xcf});  // nop; iretq
  EXPECT_EQ(inject({v::nmi, EventType::nmi}).reason, ExitReason::nmi_window);
  EXPECT_EQ(rip(), code);
  EXPECT_EQ(reg(arch::rsp), stack);
}

TEST_P(Events, AMonitorTrapIsAfterEachInstruction) {
  control(&Controls::monitor_trap);
  EXPECT_EQ(static_cast<unsigned>(run({0x90, 0xeb, 0x01, 0xf4, 0xf4}).reason), 37u);  // nop; jmp +1; hlt; hlt
  EXPECT_EQ(rip(), code + 1);
  EXPECT_EQ(resume().reason, ExitReason::monitor_trap_flag);
  EXPECT_EQ(rip(), code + 4);
  expect_halt_at(resume(), code + 4);
}

// ---- in the middle of a delivery

TEST_P(Events, AnExitSaysWhatItInterrupted) {
  SystemRegs system = long_mode();
  system.idtr.base = nowhere;
  vcpu_->set_system(system);
  const Event event{0x40, EventType::external};
  const Exit exit = inject(event);
  EXPECT_EQ(exit.reason, ExitReason::ept_violation);
  EXPECT_EQ(exit.physical.value, nowhere + 0x40 * 16);
  EXPECT_EQ(exit.linear.value, nowhere + 0x40 * 16);
  ASSERT_EQ(exit.vectoring, event);
  EXPECT_EQ(rip(), code);
  EXPECT_EQ(reg(arch::rsp), stack);
  vcpu_->set_system(long_mode());
  EXPECT_EQ(expect_delivered(inject(*exit.vectoring), 0x40).rip, code);
}

/// The IDT ends before vector 0x40, and #GP is intercepted: EXT and the gate's index are its code.
TEST_P(Events, AFaultInADeliveryThatIsIntercepted) {
  SystemRegs system = long_mode();
  system.idtr.limit = 0x3ff;
  vcpu_->set_system(system);
  intercept({v::gp});
  const Exit exit = inject({0x40, EventType::external});
  EXPECT_EQ(exit.interruption, (Event{v::gp, EventType::exception, true, 0x40 * 8 + 3, 0}));
  EXPECT_EQ(exit.vectoring, (Event{0x40, EventType::external}));
}

TEST_P(Events, AFaultInAFaultIsADoubleFault) {
  guest_.put<u64>(idt + v::gp * 16, 0);
  expect_delivered(inject({v::gp, EventType::exception, true, 0}), v::df, 0);
  guest_.put<u64>(idt + v::df * 16, 0);
  EXPECT_EQ(inject({v::gp, EventType::exception, true, 0}).reason, ExitReason::triple_fault);
}

TEST_P(Events, InRealMode) {
  SystemRegs system = real_mode();
  system.idtr = {data, 0x3ff};
  vcpu_->set_system(system);
  guest_.put<u32>(data + 0x40 * 4, 0x0000'3000);
  guest_.put<u8>(0x3000, 0xf4);
  expect_halt_at(inject({0x40, EventType::external}), 0x3000);
  EXPECT_EQ(guest_.get<u16>(stack - 6), code);
  EXPECT_EQ(guest_.get<u16>(stack - 2), f::fixed1 | f::if_);
}

CLOISTER_EACH_IMPLEMENTATION(Events);

}  // namespace
}  // namespace cloister::vmx
