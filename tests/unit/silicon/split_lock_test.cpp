// LOCK on an operand that two cache lines share (SDM vol. 3A, 9.1.2): it is atomic for all processors, is no split lock
// of the host's, and leaves the other processors their time.
#include <thread>

#include "long_mode_machine.hpp"

namespace cloister::silicon {
namespace {

using arch::page_size;

constexpr u64 code = 0x1000, other_code = 0x2000, data = 0x8000;
/// Operands of eight bytes, four in each half: within a page, and in two.
constexpr std::array<u64, 2> splits{data + 64 - 4, data + page_size - 4};

class SplitLock : public testing::Test {
 protected:
  using Processor = LongModeMachine::Processor;

  LongModeMachine machine_;
};

/// Instructions on [rdi], each with what it makes of `before`, with RAX = before, RBX = 5, RCX = 6, RDX = before >> 32.
struct Row {
  const char* name;
  std::initializer_list<u8> bytes;
  unsigned size;
  u64 after, rax, rbx;
};
constexpr u64 before = 0x1234'5678'9abc'def0;

TEST_F(SplitLock, EachInstructionIsDoneAlone) {
  const Row rows[] = {
      {"lock add [rdi], rbx", {0xf0, 0x48, 0x01, 0x1f}, 8, before + 5, before, 5},
      {"lock add dword [rdi], ebx", {0xf0, 0x01, 0x1f}, 4, before + 5, before, 5},
      {"lock sub word [rdi], bx", {0xf0, 0x66, 0x29, 0x1f}, 2, before - 5, before, 5},
      {"lock or qword [rdi], 0xf", {0xf0, 0x48, 0x83, 0x0f, 0x0f}, 8, before | 0xf, before, 5},
      {"lock inc qword [rdi]", {0xf0, 0x48, 0xff, 0x07}, 8, before + 1, before, 5},
      {"lock not qword [rdi]", {0xf0, 0x48, 0xf7, 0x17}, 8, ~before, before, 5},
      {"lock neg qword [rdi]", {0xf0, 0x48, 0xf7, 0x1f}, 8, ~before + 1, before, 5},
      {"lock bts qword [rdi], 0", {0xf0, 0x48, 0x0f, 0xba, 0x2f, 0}, 8, before | 1, before, 5},
      {"lock btr qword [rdi], 4", {0xf0, 0x48, 0x0f, 0xba, 0x37, 4}, 8, before & ~u64{16}, before, 5},
      {"xchg [rdi], rbx", {0x48, 0x87, 0x1f}, 8, 5, before, before},
      {"lock xadd [rdi], rbx", {0xf0, 0x48, 0x0f, 0xc1, 0x1f}, 8, before + 5, before, before},
      {"lock cmpxchg [rdi], rbx", {0xf0, 0x48, 0x0f, 0xb1, 0x1f}, 8, 5, before, 5},
      {"lock cmpxchg8b [rdi]", {0xf0, 0x0f, 0xc7, 0x0f}, 8, 0x6'0000'0005, before, 5},
  };
  Processor p(machine_, code), other(machine_, other_code);
  for (const Row& row : rows) {
    for (const u64 boundary : {splits[0] + 4, splits[1] + 4}) {
      SCOPED_TRACE(row.name);
      const u64 at = boundary - row.size / 2;
      machine_.put_bytes(code, row.bytes);
      machine_.put_bytes(code + row.bytes.size(), {0xf4});
      const auto run = [&](u64 where) {
        machine_.put(where, before);
        p.reg(arch::rdi) = where;
        p.reg(arch::rax) = before;
        p.reg(arch::rbx) = 5;
        p.reg(arch::rcx) = 6;
        p.reg(arch::rdx) = before >> 32;
        const u64 holds = machine_.holds(), retired = p.vcpu.instructions();
        p.run_to_halt(code);
        EXPECT_EQ(p.vcpu.instructions() - retired, 1u);
        EXPECT_EQ(machine_.get<u64>(where), row.after);
        EXPECT_EQ(p.reg(arch::rax), row.rax);
        EXPECT_EQ(p.reg(arch::rbx), row.rbx);
        return machine_.holds() - holds;
      };
      EXPECT_EQ(run(at), 1u);
      EXPECT_EQ(run(boundary), 0u) << "in one line";
      EXPECT_EQ(run(boundary - row.size), 0u) << "in one line, up to its end";
      EXPECT_EQ(run(data + 8 * 64 + 1), 0u) << "not aligned, but in one line";
    }
  }
}

TEST_F(SplitLock, Cmpxchg16bIsAlignedOrFaults) {
  machine_.put_bytes(code, {0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf4});  // lock cmpxchg16b [rdi]; hlt
  Processor p(machine_, code);
  Controls controls;
  controls.exception_bitmap = 1u << arch::vector::gp;
  p.vcpu.set_controls(controls);
  const u64 holds = machine_.holds();
  for (const u64 at : {data + 48, data + page_size - 16}) {
    p.reg(arch::rdi) = at;
    p.reg(arch::rbx) = 7;
    p.reg(arch::rcx) = 8;
    p.run_to_halt(code);
    EXPECT_EQ(machine_.get<u64>(at), 7u);
    EXPECT_EQ(machine_.get<u64>(at + 8), 8u);
  }
  for (const u64 at : {data + 56, data + page_size - 8}) {
    p.reg(arch::rdi) = at;
    p.cpu.rip = code;
    const Exit exit = p.vcpu.run(1);
    EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi);
    EXPECT_EQ(exit.interruption.vector, arch::vector::gp);
  }
  EXPECT_EQ(machine_.holds(), holds);
}

TEST_F(SplitLock, IsOneStepAndOneOfTheBudget) {
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x1f, 0xf0, 0x48, 0x01, 0x1f, 0xf4});  // lock add [rdi], rbx; twice; hlt
  Processor p(machine_, code);
  p.reg(arch::rdi) = splits[1];
  p.reg(arch::rbx) = 1;
  EXPECT_EQ(p.vcpu.run(1).reason, ExitReason::preemption_timer);
  EXPECT_EQ(p.cpu.rip, code + 4);
  EXPECT_EQ(machine_.get<u64>(splits[1]), 1u);
  p.cpu.rip = code;
  Controls controls;
  controls.monitor_trap = true;
  p.vcpu.set_controls(controls);
  EXPECT_EQ(p.vcpu.run(100).reason, ExitReason::monitor_trap_flag);
  EXPECT_EQ(p.cpu.rip, code + 4);
  EXPECT_EQ(machine_.get<u64>(splits[1]), 2u);
  controls.monitor_trap = false;
  controls.exception_bitmap = 1u << arch::vector::db;
  p.vcpu.set_controls(controls);
  p.cpu.rip = code;
  p.cpu.system_flags |= arch::rflags::tf;
  EXPECT_EQ(p.vcpu.run(100).reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(p.cpu.rip, code + 4) << "the trap comes behind the instruction";
  EXPECT_EQ(machine_.get<u64>(splits[1]), 3u);
}

TEST_F(SplitLock, FaultsAsAnyAccessDoes) {
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x1f, 0xf4});
  Processor p(machine_, code);
  Controls controls;
  controls.exception_bitmap = 1u << arch::vector::pf;
  p.vcpu.set_controls(controls);
  constexpr u64 missing = 0x20'0000;  // behind what is mapped
  p.reg(arch::rdi) = missing + 60;
  p.reg(arch::rbx) = 1;
  const Exit exit = p.vcpu.run(100);
  EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(exit.interruption.error, arch::pfec::wr);
  EXPECT_EQ(exit.qualification, missing + 60);
  EXPECT_EQ(p.cpu.rip, code);
  // What follows is not done alone by mistake.
  p.reg(arch::rdi) = splits[0];
  p.run_to_halt(code);
  EXPECT_EQ(machine_.get<u64>(splits[0]), 1u);
}

/// One processor adds to both halves at once, the other to each alone: nothing is lost.
TEST_F(SplitLock, BesideLocksOnEachHalf) {
  constexpr u64 splitting = 100, aligned = 100'000;
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x07, 0xff, 0xc9, 0x75, 0xf8, 0xf4});  // 1: lock add [rdi], rax; dec ecx
  // 1: lock inc dword [rdi]; lock inc dword [rdi + 4]; dec ecx; jnz 1b; hlt
  machine_.put_bytes(other_code, {0xf0, 0xff, 0x07, 0xf0, 0xff, 0x47, 0x04, 0xff, 0xc9, 0x75, 0xf5, 0xf4});
  for (const u64 split : splits) {
    machine_.put<u64>(split, 0);
    Processor p(machine_, code), other(machine_, other_code);
    for (Processor* each : {&p, &other}) each->reg(arch::rdi) = split;
    p.reg(arch::rax) = 0x1'0000'0001;
    p.reg(arch::rcx) = splitting;
    other.reg(arch::rcx) = aligned;
    const u64 holds = machine_.holds();
    std::thread thread([&] { other.run_to_halt(other_code); });
    p.run_to_halt(code);
    thread.join();
    EXPECT_EQ(machine_.get<u32>(split), splitting + aligned);
    EXPECT_EQ(machine_.get<u32>(split + 4), splitting + aligned);
    EXPECT_EQ(machine_.holds() - holds, splitting);
  }
}

/// Both split, at the same place.
TEST_F(SplitLock, BesideAnother) {
  constexpr u64 each_adds = 100;
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x07, 0xff, 0xc9, 0x75, 0xf8, 0xf4});
  for (const u64 split : splits) {
    machine_.put<u64>(split, 0);
    Processor p(machine_, code), other(machine_, code);
    for (Processor* each : {&p, &other}) {
      each->reg(arch::rdi) = split;
      each->reg(arch::rax) = 0x1'0000'0001;
      each->reg(arch::rcx) = each_adds;
    }
    std::thread thread([&] { other.run_to_halt(code); });
    p.run_to_halt(code);
    thread.join();
    EXPECT_EQ(machine_.get<u64>(split), 0x1'0000'0001 * 2 * each_adds);
  }
}

/// Processors that split locks for ever: one that does not gets through its work, though it exits now and then.
TEST_F(SplitLock, LeavesOthersTheirTime) {
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x07, 0xeb, 0xfa});  // 1: lock add [rdi], rax; jmp 1b
  machine_.put_bytes(other_code, {0x48, 0xff, 0xc1, 0xeb, 0xfb});  // 1: inc rcx; jmp 1b
  Processor first(machine_, code), second(machine_, code), other(machine_, other_code);
  std::vector<std::thread> threads;
  for (Processor* p : {&first, &second}) {
    p->reg(arch::rdi) = splits[1];
    threads.emplace_back([p] { EXPECT_EQ(p->vcpu.run(~u64{0}).reason, ExitReason::external_interrupt); });
  }
  constexpr u64 turns = 100, instructions = 50'000;
  for (u64 i = 0; i < turns; ++i) EXPECT_EQ(other.vcpu.run(instructions).reason, ExitReason::preemption_timer);
  EXPECT_EQ(other.vcpu.instructions(), turns * instructions);
  for (Processor* p : {&first, &second}) p->vcpu.kick();
  for (std::thread& t : threads) t.join();
}

/// After a hold that others stood aside for, no LOCK holds them again before they had nine times as long, or 10 ms.
TEST_F(SplitLock, RestsBeforeTheNextHold) {
  using Clock = Shootdown::Clock;
  machine_.put_bytes(code, {0xf0, 0x48, 0x01, 0x07, 0xf4});        // lock add [rdi], rax; hlt
  machine_.put_bytes(other_code, {0x48, 0xff, 0x06, 0xeb, 0xfb});  // 1: inc qword [rsi]; jmp 1b
  constexpr u64 count = 0x9000;
  Processor p(machine_, code), other(machine_, other_code);
  p.reg(arch::rdi) = splits[0];
  other.reg(arch::rsi) = count;
  std::thread thread([&] { EXPECT_EQ(other.vcpu.run(~u64{0}).reason, ExitReason::external_interrupt); });
  while (machine_.get<u64>(count) == 0) std::this_thread::yield();
  Shootdown& all = machine_.memory.impl().shootdown;
  Clock::time_point from, until;
  {
    const Hold hold(all);
    from = Clock::now();
    do until = Clock::now();
    while (until - from < std::chrono::milliseconds(1));
  }
  Clock::time_point rest_until;
  {
    const MutexLock lock(all.mutex);
    all.changed.wait(all.mutex, [&]() CLOISTER_REQUIRES(all.mutex) { return all.aside == 0; });
    rest_until = all.rest_until;
  }
  EXPECT_GE(rest_until, until + std::min<Clock::duration>(9 * (until - from), std::chrono::milliseconds(10)));
  p.run_to_halt(code);
  {
    const MutexLock lock(all.mutex);
    EXPECT_GE(all.held_since, rest_until);
  }
  other.vcpu.kick();
  thread.join();
}

}  // namespace
}  // namespace cloister::silicon
