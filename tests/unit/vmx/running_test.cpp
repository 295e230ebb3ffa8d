// How long run() runs: budgets, clocks, loops of PAUSE, kicks, and several processors (vmx/vcpu.hpp, vmx/time.hpp).
#include <thread>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

constexpr std::initializer_list<u8> forever{0xeb, 0xfe};  // 1: jmp 1b

using Running = OneProcessor;

TEST_P(Running, ABudgetEnds) {
  const Exit exit = run(forever);
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 52u);
  EXPECT_EQ(rip(), code);
}

TEST_P(Running, AKickBeforehandIsNotLost) {
  vcpu_->kick();
  const Exit exit = run({0x90, 0xf4});
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 1u);
  EXPECT_EQ(rip(), code);
  expect_halt_at(resume(), code + 1);
}

TEST_P(Running, AKickDoesNotLoseWhatIsInjected) {
  vcpu_->inject({0x40, EventType::external});
  vcpu_->kick();
  const Exit exit = run({0x90, 0xf4}, {.rflags = arch::rflags::fixed1 | arch::rflags::if_});
  EXPECT_EQ(exit.reason, ExitReason::external_interrupt);
  EXPECT_EQ(exit.vectoring, std::nullopt) << "delivered, or still to be";
  EXPECT_EQ(expect_delivered(resume(), 0x40).rip, code);
}

/// PAUSE-loop exiting (SDM vol. 3C, 26.1.3).
TEST_P(Running, ALoopOfPause) {
  const std::initializer_list<u8> loop{0xf3, 0x90, 0xeb, 0xfc};  // 1: pause; jmp 1b
  EXPECT_EQ(run(loop).reason, ExitReason::preemption_timer) << "without the control";
  Controls controls;
  controls.pause_loop_exiting = {.gap = u64{1} << 40, .window = 1000};
  vcpu_->set_controls(controls);
  const u64 before = vcpu_->tsc();
  const Exit exit = run(loop);
  EXPECT_EQ(static_cast<unsigned>(exit.reason), 40u);
  EXPECT_EQ(exit.instruction_length, 2u);
  EXPECT_EQ(rip(), code);
  EXPECT_GT(vcpu_->tsc() - before, 1000u);
  complete(exit);
  EXPECT_EQ(resume().reason, ExitReason::pause);
  vcpu_->set_system(user_mode());
  EXPECT_EQ(run(loop).reason, ExitReason::preemption_timer) << "CPL 0's";
}

TEST_P(Running, TheHostsClockDoesNotGoBack) {
  const u64 before = vcpu_->tsc();
  expect_halt_at(run({0x0f, 0x31, 0xf4}), code + 2);  // rdtsc
  const u64 guests = reg(arch::rdx) << 32 | reg(arch::rax), after = vcpu_->tsc();
  EXPECT_LE(before, guests);
  EXPECT_LE(guests, after);
  vcpu_->skip_to(u64{1} << 62);
  EXPECT_LT(vcpu_->tsc(), u64{1} << 62) << "is not moved";
}

/// An instruction that the processor has is none of them. UD2 is one.
TEST_P(Running, NothingIsUnimplementedAtFirst) {
  EXPECT_TRUE(vcpu_->unimplemented().empty());
  intercept({arch::vector::ud});
  EXPECT_EQ(run({0x90, 0x0f, 0x0b}).reason, ExitReason::exception_or_nmi);
  EXPECT_TRUE(vcpu_->unimplemented().empty());
}

CLOISTER_EACH_IMPLEMENTATION(Running);

// ---- to the instruction

class ExactBudget : public OneProcessor {
 protected:
  void SetUp() override { CLOISTER_NEEDS(*package_, exact_budget); }
};

TEST_P(ExactBudget, IsMet) {
  const std::initializer_list<u8> program{0x90, 0x90, 0xff, 0xc0, 0xeb, 0xfa};  // 1: nop; nop; inc eax; jmp 1b
  constexpr u64 offsets[] = {0, 1, 2, 4};
  guest_.put_bytes(code, program);
  for (u64 budget = 0; budget <= 9; ++budget) {
    vcpu_->set_general({.rip = code});
    const u64 before = vcpu_->instructions();
    EXPECT_EQ(vcpu_->run(budget).reason, ExitReason::preemption_timer);
    EXPECT_EQ(rip(), code + offsets[budget % 4]) << budget;
    EXPECT_EQ(vcpu_->instructions() - before, budget);
    EXPECT_EQ(reg(arch::rax), (budget + 1) / 4);
  }
}

TEST_P(ExactBudget, CountsWhatRetires) {
  EXPECT_EQ(vcpu_->instructions(), 0u);
  run({0x90, 0x90, 0xf4});
  EXPECT_EQ(vcpu_->instructions(), 2u) << "an instruction that exits is not done";
  resume();
  EXPECT_EQ(vcpu_->instructions(), 2u);
}

/// What comes before it in its block changes nothing: the unfinished parts of a repeated string instruction cost one
/// each.
TEST_P(ExactBudget, PaysForEachPartOfAStringInstruction) {
  guest_.put_bytes(code, std::initializer_list<u8>{0xfd, 0x90, 0x90, 0xf3, 0xae});  // std; nop; nop; repe scasb
  constexpr u64 count = 50'000;
  const auto elements = [&](u64 budget) {
    GeneralRegs regs{.rip = code};
    regs.gpr[arch::rcx] = count;
    regs.gpr[arch::rdi] = ram_bytes - 1;
    vcpu_->set_general(regs);
    EXPECT_EQ(vcpu_->run(budget).reason, ExitReason::preemption_timer);
    EXPECT_EQ(rip(), code + 3);
    return count - reg(arch::rcx);
  };
  const u64 part = elements(4);
  EXPECT_GT(part, 0u);
  EXPECT_EQ(elements(3), 0u);
  EXPECT_EQ(elements(8), 5 * part);
}

CLOISTER_EACH_IMPLEMENTATION(ExactBudget);

// ---- the deterministic clock

class DeterministicClock : public OneProcessor {
 protected:
  void SetUp() override {
    CLOISTER_NEEDS(*package_, deterministic_clock);
    vcpu_ = guest_.processor({.clock = ClockMode::deterministic});
  }
};

TEST_P(DeterministicClock, CountsInstructions) {
  const u64 before = vcpu_->tsc();
  expect_halt_at(run({0x90, 0x90, 0x90, 0x0f, 0x31, 0xf4}), code + 5);  // nop; nop; nop; rdtsc; hlt
  EXPECT_EQ(reg(arch::rdx) << 32 | reg(arch::rax), before + 3);
  EXPECT_EQ(vcpu_->tsc(), before + 4);
}

TEST_P(DeterministicClock, IsMovedForwardOnly) {
  vcpu_->skip_to(5000);
  EXPECT_EQ(vcpu_->tsc(), 5000u);
  vcpu_->skip_to(4000);
  EXPECT_EQ(vcpu_->tsc(), 5000u);
}

TEST_P(DeterministicClock, AdjustingIsTheGuestsAffair) {
  ASSERT_TRUE(vcpu_->write_msr(arch::msr::tsc_adjust, 1000));
  const u64 before = vcpu_->tsc();
  run({0x0f, 0x31, 0xf4});
  EXPECT_EQ(reg(arch::rax), before + 1000);
  EXPECT_EQ(vcpu_->tsc(), before + 1);
}

/// Processors with one Time agree; each counts its own instructions.
TEST_P(DeterministicClock, IsShared) {
  Time shared;
  const Vcpu::Config config{.clock = ClockMode::deterministic, .time = &shared};
  const auto first = guest_.processor(config), second = guest_.processor(config);
  guest_.put_bytes(code, std::initializer_list<u8>{0x90, 0x90, 0xf4});
  first->run(plenty);
  EXPECT_EQ(second->tsc(), 2u);
  second->run(plenty);
  EXPECT_EQ(first->tsc(), 4u);
  EXPECT_EQ(first->instructions(), 2u);
  first->skip_to(100);
  EXPECT_EQ(second->tsc(), 100u);
}

TEST_P(DeterministicClock, HasSeededRandomness) {
  guest_.put_bytes(code, std::initializer_list<u8>{0x48, 0x0f, 0xc7, 0xf0, 0xf4});  // rdrand rax; hlt
  const auto drawn = [&](u64 seed) {
    const auto vcpu = guest_.processor({.clock = ClockMode::deterministic, .seed = seed});
    EXPECT_EQ(vcpu->run(plenty).reason, ExitReason::hlt);
    return vcpu->general().gpr[arch::rax];
  };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

CLOISTER_EACH_IMPLEMENTATION(DeterministicClock);

// ---- several

class Threads : public OneProcessor {
 protected:
  static constexpr u64 no_end = ~u64{0};

  /// Runs a processor on a thread of its own until it exits.
  struct Thread {
    std::unique_ptr<Vcpu> vcpu;
    Exit exit{};
    std::thread thread;

    void start() {
      thread = std::thread([this] {
        do exit = vcpu->run(no_end);
        while (exit.reason == ExitReason::preemption_timer);
      });
    }
    void join() { thread.join(); }
    ~Thread() {
      if (!thread.joinable()) return;
      vcpu->kick();
      thread.join();
    }
  };
  void start(Thread& t, u64 where, u64 rdi, u64 rcx = 0) {
    t.vcpu = guest_.processor();
    GeneralRegs regs;
    regs.rip = where;
    regs.gpr[arch::rsp] = stack;
    regs.gpr[arch::rdi] = rdi;
    regs.gpr[arch::rcx] = rcx;
    t.vcpu->set_general(regs);
    t.start();
  }
  void wait_for(u64 at, u64 least) {
    while (guest_.get<u64>(at) < least) std::this_thread::yield();
  }
  /// 1: inc qword [rdi]; jmp 1b
  static constexpr std::initializer_list<u8> counts{0x48, 0xff, 0x07, 0xeb, 0xfb};
  /// 1: lock inc qword [rdi]; dec ecx; jnz 1b; hlt
  static constexpr std::initializer_list<u8> adds{0xf0, 0x48, 0xff, 0x07, 0xff, 0xc9, 0x75, 0xf8, 0xf4};
};

TEST_P(Threads, AKickEndsARun) {
  guest_.put_bytes(code, counts);
  for (int turn = 0; turn < 3; ++turn) {
    guest_.put<u64>(data, 0);
    Thread thread;
    start(thread, code, data);
    wait_for(data, 1);
    thread.vcpu->kick();
    thread.join();
    EXPECT_EQ(thread.exit.reason, ExitReason::external_interrupt);
    EXPECT_EQ(thread.exit.instruction_length, 0u);
  }
}

TEST_P(Threads, LocksAreEverybodys) {
  constexpr u64 times = 20'000;
  guest_.put_bytes(code, adds);
  Thread first, second;
  start(first, code, data, times);
  start(second, code, data, times);
  for (u64 i = 0; i < times; ++i) {
    for (u64 seen = guest_.get<u64>(data);;) {
      const auto found = guest_.memory().compare_exchange(Gpa{data}, 8, seen, seen + 1);
      ASSERT_TRUE(found);
      if (*found == seen) break;
      seen = *found;
    }
  }
  first.join();
  second.join();
  EXPECT_EQ(guest_.get<u64>(data), 3 * times);
}

TEST_P(Threads, ARunningGuestSeesTheDevicesStores) {
  guest_.put_bytes(code, std::initializer_list<u8>{0x83, 0x3f, 0x00, 0x74, 0xfb, 0xf4});  // 1: cmp [rdi], 0; je 1b; hlt
  Thread thread;
  start(thread, code, data);
  guest_.put<u32>(data, 1);
  thread.join();
  EXPECT_EQ(thread.exit.reason, ExitReason::hlt);
}

TEST_P(Threads, MemoryIsMappedAndUnmappedUnderARunningGuest) {
  constexpr u64 slot = 0x10'0000;
  guest_.put_bytes(code, counts);
  ASSERT_TRUE(guest_.memory().map_ram(Gpa{slot}, arch::page_size));
  Thread thread;
  start(thread, code, slot);
  wait_for(slot, 1);
  ASSERT_TRUE(guest_.memory().map_ram(Gpa{slot + arch::page_size}, arch::page_size));
  ASSERT_TRUE(guest_.memory().unmap(Gpa{slot + arch::page_size}, arch::page_size));
  wait_for(slot, guest_.get<u64>(slot) + 1);
  ASSERT_TRUE(guest_.memory().unmap(Gpa{slot}, arch::page_size));
  thread.join();
  EXPECT_EQ(thread.exit.reason, ExitReason::ept_violation);
  EXPECT_EQ(thread.exit.physical.value, slot);
}

TEST_P(Threads, OthersComeAndGo) {
  guest_.put_bytes(code, counts);
  guest_.put_bytes(code + 0x100, adds);
  Thread thread;
  start(thread, code, data);
  for (int turn = 0; turn < 20; ++turn) {
    Thread other;
    start(other, code + 0x100, data + 64, 10);
    other.join();
    EXPECT_EQ(other.exit.reason, ExitReason::hlt);
  }
  EXPECT_EQ(guest_.get<u64>(data + 64), 200u);
  thread.vcpu->kick();
}

CLOISTER_EACH_IMPLEMENTATION(Threads);

}  // namespace
}  // namespace cloister::vmx
