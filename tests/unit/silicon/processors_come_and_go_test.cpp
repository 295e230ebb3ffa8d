// What happens to memory and processors while others run: processors are made and destroyed, RAM is mapped and
// unmapped. Nobody executes old code, waits for one that is gone, or touches memory that is gone.
#include <thread>

#include "long_mode_machine.hpp"

namespace cloister::silicon {
namespace {

using arch::Gpa;
using arch::page_size;

constexpr u64 code = 0x1000, other_code = 0x2000, patched = 0x3000, far = 0x10'0000;

class ComeAndGo : public testing::Test {
 protected:
  using Processor = LongModeMachine::Processor;

  /// Runs until it is kicked, on a thread of its own.
  struct Running {
    Vcpu& vcpu;
    Exit exit{};
    std::thread thread;
    explicit Running(Processor& p) : vcpu(p.vcpu), thread([this] { exit = vcpu.run(~u64{0}); }) {}
    ~Running() { stop(); }
    void stop() {
      if (!thread.joinable()) return;
      vcpu.kick();
      thread.join();
    }
  };

  LongModeMachine machine_;
};

/// One processor patches an instruction's immediate inline while it runs alone; the other, made meanwhile, executes it.
TEST_F(ComeAndGo, AProcessorThatIsMadeMeanwhileSeesStores) {
  machine_.put_bytes(code,
                     {0xfe, 0xc0, 0x88, 0x07, 0x48, 0xff, 0x06, 0xeb, 0xf7});  // 1: inc al; mov [rdi], al; inc [rsi]
  machine_.put_bytes(patched, {0xb9, 0, 0, 0, 0, 0xeb, 0xf9});                 // 1: mov ecx, imm; jmp 1b
  constexpr u64 count = 0x9000;
  for (int i = 0; i < 20; ++i) {
    Processor writer(machine_, code);
    writer.reg(arch::rdi) = patched + 1;
    writer.reg(arch::rsi) = count;
    machine_.put<u64>(count, 0);
    Running running(writer);
    while (machine_.get<u64>(count) < 100) std::this_thread::yield();
    Processor reader(machine_, patched);
    for (int turn = 0; turn < 20; ++turn) EXPECT_EQ(reader.vcpu.run(500).reason, ExitReason::preemption_timer);
    running.stop();
    reader.cpu.rip = patched;
    EXPECT_EQ(reader.vcpu.run(100).reason, ExitReason::preemption_timer);
    EXPECT_EQ(reader.reg(arch::rcx), machine_.get<u8>(patched + 1)) << "what is there when nobody writes any more";
  }
}

/// A processor runs while its only neighbour goes and a new one comes, which caches code and so waits for those that
/// run.
TEST_F(ComeAndGo, NobodyWaitsForOneThatHasLeft) {
  machine_.put_bytes(code, {0x48, 0xff, 0x06, 0xeb, 0xfb});  // 1: inc [rsi]; jmp 1b
  constexpr u64 count = 0x9000;
  auto first = std::make_unique<Processor>(machine_, other_code);
  Processor stays(machine_, code);
  stays.reg(arch::rsi) = count;
  for (u64 i = 0; i < 20; ++i) {
    const u64 fresh = 0x10000 + i * page_size;
    machine_.put_bytes(fresh, {0xf4});
    machine_.put<u64>(count, 0);
    Running running(stays);
    while (machine_.get<u64>(count) < 100) std::this_thread::yield();
    first.reset();
    running.stop();
    first = std::make_unique<Processor>(machine_, fresh);
    first->run_to_halt(fresh);
  }
}

TEST_F(ComeAndGo, ManyAtOnce) {
  machine_.put_bytes(code, {0xfe, 0x07, 0x48, 0xff, 0x06, 0xeb, 0xf9});  // 1: inc byte [rdi]; inc [rsi]; jmp 1b
  machine_.put_bytes(patched, {0xb9, 0, 0, 0, 0, 0xeb, 0xf9});
  Processor writer(machine_, code);
  writer.reg(arch::rdi) = patched + 1;
  writer.reg(arch::rsi) = 0x9000;
  Running running(writer);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 30; ++i) {
        Processor p(machine_, patched);
        EXPECT_EQ(p.vcpu.run(1000).reason, ExitReason::preemption_timer);
        EXPECT_EQ(p.vcpu.instructions(), 1000u);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

/// A long block between two increments: whoever holds its processor sees both or none.
TEST_F(ComeAndGo, AHoldFindsThemBetweenTwoBlocks) {
  constexpr u64 count = 0x9000;
  // 1: inc qword [rsi]; fninit; fldpi; fsin, thirty times; inc qword [rsi]; jmp 1b
  machine_.put_bytes(code, {0x48, 0xff, 0x06, 0xdb, 0xe3, 0xd9, 0xeb});
  for (u64 i = 0; i < 30; ++i) machine_.put_bytes(code + 7 + 2 * i, {0xd9, 0xfe});
  machine_.put_bytes(code + 67, {0x48, 0xff, 0x06, 0xeb, 0xb8});
  Processor p(machine_, code);
  p.reg(arch::rsi) = count;
  Running running(p);
  for (int i = 0; i < 100; ++i) {
    for (const u64 before = machine_.get<u64>(count); machine_.get<u64>(count) == before;) std::this_thread::yield();
    const Hold hold(machine_.memory.impl().shootdown);
    ASSERT_EQ(machine_.get<u64>(count) % 2, 0u);
  }
}

/// Loads, stores and LOCK in a slot that goes away meanwhile: each ends in the exit that memory which is not there
/// makes.
TEST_F(ComeAndGo, RamIsUnmappedUnderItsUsers) {
  // 1: mov rax, [rdi]; mov [rdi + 0x1000], rax; lock inc qword [rdi + 0x2000]; lock inc qword [rdi + 0xffe]; jmp 1b
  machine_.put_bytes(code, {0x48, 0x8b, 0x07, 0x48, 0x89, 0x87, 0,    0x10, 0,    0,    0xf0, 0x48, 0xff, 0x87,
                            0,    0x20, 0,    0,    0xf0, 0x48, 0xff, 0x87, 0xfe, 0x0f, 0,    0,    0xeb, 0xe4});
  for (u64 round = 0; round < 10; ++round) {
    ASSERT_TRUE(machine_.memory.map_ram(Gpa{far}, 0x4000));
    EXPECT_EQ(machine_.get<u64>(far + 0x2000), 0u) << "fresh";
    Processor one(machine_, code), two(machine_, code);
    for (Processor* p : {&one, &two}) p->reg(arch::rdi) = far;
    Running first(one), second(two);
    while (machine_.get<u64>(far + 0x2000) < 5) std::this_thread::yield();
    ASSERT_TRUE(machine_.memory.unmap(Gpa{far}, 0x4000));
    for (Running* r : {&first, &second}) {
      r->thread.join();
      EXPECT_EQ(r->exit.reason, ExitReason::ept_violation);
      EXPECT_LT(r->exit.physical.value - far, 0x4000u);
    }
  }
}

/// Code in it, too: blocks and their pages' states go with it. A processor that does not run meanwhile forgets later.
TEST_F(ComeAndGo, CodeIsUnmappedUnderItsUsers) {
  for (u64 round = 0; round < 30; ++round) {
    ASSERT_TRUE(machine_.memory.map_ram(Gpa{far}, 0x2000));
    machine_.put_bytes(far + 0xffd, {0xb9, static_cast<u8>(round), 0, 0, 0, 0x48, 0xff, 0x06, 0xeb, 0xf6});
    Processor runs(machine_, far + 0xffd), rests(machine_, far + 0xffd);
    constexpr u64 count = 0x9000;
    machine_.put<u64>(count, 0);
    for (Processor* p : {&runs, &rests}) p->reg(arch::rsi) = count;
    EXPECT_EQ(rests.vcpu.run(300).reason, ExitReason::preemption_timer);
    Running running(runs);
    while (machine_.get<u64>(count) < 300) std::this_thread::yield();
    ASSERT_TRUE(machine_.memory.unmap(Gpa{far}, 0x2000));
    running.thread.join();
    EXPECT_EQ(running.exit.reason, ExitReason::ept_violation);
    EXPECT_TRUE(EptQualification::decode(running.exit.qualification).fetch);
    EXPECT_EQ(rests.vcpu.run(300).reason, ExitReason::ept_violation);
    EXPECT_EQ(runs.reg(arch::rcx), round);
  }
}

/// Copies are long, so that memory goes in the middle of one.
TEST_F(ComeAndGo, DevicesFindItOrNot) {
  constexpr u64 large = 8 << 20;
  std::atomic<bool> stop = false;
  std::atomic<u64> found = 0;
  std::thread device([&] {
    std::vector<std::byte> bytes(large - 0x1000);
    while (!stop) {
      if (machine_.memory.read(Gpa{far + 0x800}, bytes)) ++found;
      (void)machine_.memory.write(Gpa{far + 0x800}, bytes);
      (void)machine_.memory.compare_exchange(Gpa{far}, 8, 0, 1);
    }
  });
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(machine_.memory.map_ram(Gpa{far}, large));
    for (const u64 before = found; found == before;) std::this_thread::yield();
    ASSERT_TRUE(machine_.memory.unmap(Gpa{far}, large));
  }
  stop = true;
  device.join();
  EXPECT_FALSE(machine_.memory.compare_exchange(Gpa{far}, 8, 0, 1));
}

TEST_F(ComeAndGo, UnmapTakesAllOfAMappingOrNothing) {
  GuestMemory& memory = machine_.memory;
  ASSERT_TRUE(memory.map_ram(Gpa{far}, 0x2000));
  ASSERT_TRUE(memory.map_ram(Gpa{far + 0x2000}, 0x2000));
  for (const auto& [base, bytes] : {std::pair{far + 0x1000, 0x3000}, {far, 0x3000}, {far + 0x1000, 0x1000}}) {
    EXPECT_EQ(memory.unmap(Gpa{base}, bytes), tl::unexpected(MapError::partial));
  }
  EXPECT_EQ(memory.unmap(Gpa{far + 1}, 0x2000), tl::unexpected(MapError::misaligned));
  EXPECT_EQ(memory.unmap(Gpa{far}, 0x2001), tl::unexpected(MapError::misaligned));
  EXPECT_TRUE(memory.unmap(Gpa{far + 0x8000}, 0x1000)) << "nothing is there";
  machine_.put<u64>(far, 1);
  machine_.put<u64>(far + 0x3ff8, 1);
  EXPECT_TRUE(memory.unmap(Gpa{far}, 0x4000));
  u64 word;
  EXPECT_FALSE(memory.read(Gpa{far}, std::as_writable_bytes(std::span(&word, 1))));
  EXPECT_FALSE(memory.read(Gpa{far + 0x3ff8}, std::as_writable_bytes(std::span(&word, 1))));
}

TEST_F(ComeAndGo, CompareExchangeAtTheDoor) {
  GuestMemory& memory = machine_.memory;
  machine_.put<u64>(0x9000, 0x1'0000'0002);
  EXPECT_EQ(memory.compare_exchange(Gpa{0x9000}, 8, 1, 7), 0x1'0000'0002u) << "something else is there";
  EXPECT_EQ(memory.compare_exchange(Gpa{0x9000}, 4, 2, 3), 2u);
  EXPECT_EQ(machine_.get<u64>(0x9000), 0x1'0000'0003u) << "four bytes alone";
  EXPECT_EQ(memory.compare_exchange(Gpa{0x9000}, 8, 0x1'0000'0003, 9), 0x1'0000'0003u);
  EXPECT_EQ(machine_.get<u64>(0x9000), 9u);
  EXPECT_FALSE(memory.compare_exchange(Gpa{0x9004}, 8, 0, 1)) << "not aligned";
  EXPECT_FALSE(memory.compare_exchange(Gpa{0x9000}, 2, 9, 1)) << "no such size";
  EXPECT_FALSE(memory.compare_exchange(Gpa{far}, 8, 0, 1)) << "no RAM";
  EXPECT_EQ(machine_.get<u64>(0x9000), 9u);
}

}  // namespace
}  // namespace cloister::silicon
