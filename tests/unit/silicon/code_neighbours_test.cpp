// What a write near code costs: to the page before it, its own, the second page of an instruction that crosses, the one
// after; by each kind of writer. Instructions and look-ups of the run loop are counted: a write may cost a look-up or
// two, once, and no turn of the loop passes without an instruction.
#include <functional>
#include <thread>

#include "long_mode_machine.hpp"

namespace cloister::silicon {
namespace {

namespace pte = arch::pte;
using arch::page_size;

// Linear addresses are physical ones; `region` is mapped by the page table that lies in a neighbour of the code.
constexpr u64 code = 0x10000, second = code + page_size, aside = 0x20000, region = 0x40'0000;
constexpr u64 loop = code + 0xff0, unused = 0x400;
constexpr std::array<u64, 4> neighbours{code - page_size, code, second, second + page_size};

/// A processor on its way through the loop.
struct Looping : LongModeMachine::Processor {
  explicit Looping(LongModeMachine& machine) : LongModeMachine::Processor(machine, loop) {}

  u64 lookups() const { return cpu.blocks->lookups(); }
  u64 decoded() const { return cpu.blocks->decoded(); }
  /// Every turn of the run loop takes from the budget what it retired, or one if that is nothing.
  void expect_no_idle_turn(u64 budget) {
    const u64 before = vcpu.instructions();
    EXPECT_EQ(vcpu.run(budget).reason, ExitReason::preemption_timer);
    EXPECT_EQ(vcpu.instructions() - before, budget) << "a turn of the run loop retired nothing";
  }
};

class CodeNeighbours : public testing::Test, public LongModeMachine {
 protected:
  CodeNeighbours() {
    // loop: inc rcx; three NOPs; mov ebx, 0x11223344 across the pages; jmp loop
    put_bytes(loop, {0x48, 0xff, 0xc1, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x66, 0x90, 0x90, 0xbb, 0x44, 0x33});
    put_bytes(second, {0x22, 0x11, 0xe9});
    put<u32>(second + 3, static_cast<u32>(loop - (second + 7)));
  }

  /// mov byte [rdi], al; hlt
  void put_store() { put_bytes(aside, {0x88, 0x07, 0xf4}); }

  /// Runs the loop until everything is known, lets `write` happen, and runs it on: what that cost.
  void expect_cheap(Looping& p, u64 neighbour, const std::function<void()>& write) {
    SCOPED_TRACE("neighbour " + std::to_string(static_cast<i64>(neighbour - code) / static_cast<i64>(page_size)));
    for (int i = 0; i < 2; ++i) p.expect_no_idle_turn(1000);
    write();
    const u64 lookups = p.lookups(), decoded = p.decoded();
    p.expect_no_idle_turn(10'000);
    EXPECT_LE(p.lookups() - lookups, 12u);
    EXPECT_LE(p.decoded() - decoded, 8u);
    const u64 quiet = p.lookups();
    p.expect_no_idle_turn(10'000);
    EXPECT_LE(p.lookups() - quiet, 2u + max_block_ops) << "all is known again: but for the budget's last instructions";
  }
};

TEST_F(CodeNeighbours, WrittenByTheProcessorItself) {
  put_store();
  Looping p(*this);
  for (const u64 neighbour : neighbours) {
    expect_cheap(p, neighbour, [&] {
      p.cpu.gpr[arch::rdi] = neighbour + unused;
      p.run_to_halt(aside);
    });
  }
  EXPECT_EQ(p.cpu.gpr[arch::rbx], 0x11223344u);
}

TEST_F(CodeNeighbours, WrittenByAnotherProcessor) {
  put_store();
  Looping p(*this), other(*this);
  for (const u64 neighbour : neighbours) {
    expect_cheap(p, neighbour, [&] {
      other.cpu.gpr[arch::rdi] = neighbour + unused;
      other.run_to_halt(aside);
    });
  }
}

TEST_F(CodeNeighbours, WrittenByADevice) {
  Looping p(*this);
  for (const u64 neighbour : neighbours) {
    expect_cheap(p, neighbour, [&] { put<u8>(neighbour + unused, 1); });
    expect_cheap(p, neighbour, [&] { EXPECT_EQ(memory.compare_exchange(arch::Gpa{neighbour + unused}, 4, 1, 2), 1u); });
  }
}

/// The neighbour is a page table, too, whose accessed and dirty flags a page walk sets.
TEST_F(CodeNeighbours, WrittenByAPageWalk) {
  put_store();
  Looping p(*this), other(*this);
  for (Looping* const walker : {&p, &other}) {
    for (const u64 neighbour : neighbours) {
      const u64 linear = region + unused / 8 * page_size, entry = neighbour + unused;
      expect_cheap(p, neighbour, [&] {
        put<u64>(tables + 2 * page_size + 2 * 8, neighbour | pte::p | pte::rw);
        put<u64>(entry, (aside + page_size) | pte::p | pte::rw);
        walker->cpu.mmu->flush_all();
        p.expect_no_idle_turn(1000);
        walker->cpu.gpr[arch::rdi] = linear;
        walker->run_to_halt(aside);
        EXPECT_EQ(get<u64>(entry) & (pte::a | pte::d), pte::a | pte::d);
      });
    }
  }
}

/// Each iteration writes: each may cost its look-ups, and none is idle.
TEST_F(CodeNeighbours, WrittenAgainAndAgain) {
  // loop: mov [rdi], rax; nop of 7; nop of 3; mov ebx, …
  put_bytes(loop, {0x48, 0x89, 0x07, 0x0f, 0x1f, 0x80, 0, 0, 0, 0, 0x0f, 0x1f, 0x00});
  for (const u64 neighbour : neighbours) {
    Looping p(*this);
    p.cpu.gpr[arch::rdi] = neighbour + unused;
    p.expect_no_idle_turn(1000);
    const u64 lookups = p.lookups();
    p.expect_no_idle_turn(5000);
    EXPECT_LE(p.lookups() - lookups, 5000u) << "at most one an instruction";
  }
}

TEST_F(CodeNeighbours, WrittenByAnotherProcessorMeanwhile) {
  put_bytes(aside, {0x48, 0x89, 0x07, 0xeb, 0xfb});  // 1: mov [rdi], rax; jmp 1b
  for (const u64 neighbour : neighbours) {
    Looping p(*this), writer(*this);
    writer.cpu.rip = aside;
    writer.cpu.gpr[arch::rdi] = neighbour + unused;
    std::thread writing([&] { EXPECT_EQ(writer.vcpu.run(~u64{0}).reason, ExitReason::external_interrupt); });
    for (int i = 0; i < 20; ++i) p.expect_no_idle_turn(1000);
    writer.vcpu.kick();
    writing.join();
    EXPECT_EQ(p.cpu.gpr[arch::rbx], 0x11223344u);
  }
}

TEST_F(CodeNeighbours, WrittenByADeviceMeanwhile) {
  for (const u64 neighbour : neighbours) {
    Looping p(*this);
    std::atomic<bool> stop = false;
    std::thread writing([&] {
      while (!stop) put<u8>(neighbour + unused, 1);
    });
    for (int i = 0; i < 20; ++i) p.expect_no_idle_turn(1000);
    stop = true;
    writing.join();
  }
}

/// A write into the instruction itself is seen by the next that is fetched.
TEST_F(CodeNeighbours, TheSecondPagesBytesAreSeenWhenTheyChange) {
  Looping p(*this);
  for (u8 value = 1; value < 20; ++value) {
    put<u8>(second + 1, value);
    p.expect_no_idle_turn(100);
    EXPECT_EQ(p.cpu.gpr[arch::rbx], 0x00223344u | (u32{value} << 24));
  }
}

/// The same first page at two linear addresses, with two second pages: each leads to its own.
TEST_F(CodeNeighbours, TwoSecondPagesBehindOneFirst) {
  constexpr u64 first = 0x8000, there = 0x5000, jumps = aside;
  map(there, first);
  map(there + page_size, aside + page_size);
  put_bytes(first + 0xffd, {0xbb, 0x44, 0x33});         // mov ebx, …
  put_bytes(first + 0x1000, {0x22, 0x11, 0xff, 0xe2});  // …; jmp rdx
  put_bytes(aside + page_size, {0x66, 0x55, 0xff, 0xe2});
  // 1: lea rdx, [2f]; jmp rsi; 2: xchg rsi, rdi; xor r8, rbx; jmp 1b
  put_bytes(jumps, {0x48, 0x8d, 0x15, 2, 0, 0, 0, 0xff, 0xe6, 0x48, 0x87, 0xf7, 0x49, 0x31, 0xd8, 0xeb, 0xef});
  Looping p(*this);
  p.cpu.rip = jumps;
  p.cpu.gpr[arch::rsi] = first + 0xffd;
  p.cpu.gpr[arch::rdi] = there + 0xffd;
  for (int i = 0; i < 20; ++i) {
    p.expect_no_idle_turn(7);
    EXPECT_EQ(p.cpu.gpr[arch::rbx], i % 2 == 0 ? 0x11223344u : 0x55663344u);
  }
  // Without a turn of the run loop in between: both values alternate, so an even number of rounds leaves nothing in r8.
  p.cpu.gpr[arch::r8] = 0;
  p.expect_no_idle_turn(u64{7} * 4000);
  EXPECT_EQ(p.cpu.gpr[arch::r8], 0u);
  p.cpu.gpr[arch::r8] = 0;
  p.expect_no_idle_turn(u64{7} * 4002);
  EXPECT_EQ(p.cpu.gpr[arch::r8], 0x11223344u ^ 0x55663344u);
}

}  // namespace
}  // namespace cloister::silicon
