// The engine that translates: when it does, what becomes of code that is written to, and of a cache that is full.
#include "silicon/engine/compiler_engine.hpp"

#include <thread>

#include "long_mode_machine.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, other_page = 0x11000, aside = 0x20000, alias = 0x10'0000;

class Translated : public testing::Test {
 protected:
  void SetUp() override {
    if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
    with({.entries = 0});
  }
  void TearDown() override { set_compiler_options({}); }
  void with(const CompilerOptions& options) {
    set_compiler_options(options);
    machine.emplace(EngineKind::compiler);
  }
  static const EngineCounters& counters(LongModeMachine::Processor& p) { return p.vcpu.impl().engine_counters(); }

  std::optional<LongModeMachine> machine;
};

TEST_F(Translated, ABlockAfterSoManyEntries) {
  with({.entries = 10});
  machine->put_bytes(code, {0xff, 0xc0, 0xf4});  // inc eax; hlt
  LongModeMachine::Processor p(*machine, code);
  for (unsigned i = 0; i < 10; ++i) p.run_to_halt(code);
  EXPECT_EQ(counters(p).blocks, 0u);
  EXPECT_EQ(counters(p).interpreted, 20u);
  p.run_to_halt(code);
  EXPECT_EQ(counters(p).blocks, 1u);
  EXPECT_GT(counters(p).bytes, 0u);
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 12u);
  EXPECT_EQ(counters(p).interpreted, 20u);
  EXPECT_EQ(counters(p).by_handler, 2u) << "HLT";
}

TEST_F(Translated, NoBlockThatIsLittleButHandlers) {
  with({.entries = 1});
  machine->put_bytes(code, {0x0f, 0xae, 0xf0, 0x0f, 0xae, 0xf0, 0xff, 0xc0, 0xf4});  // mfence twice; inc eax; hlt
  LongModeMachine::Processor p(*machine, code);
  for (unsigned i = 0; i < 5; ++i) p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 5u);
  EXPECT_EQ(counters(p).blocks, 0u);
  EXPECT_EQ(counters(p).interpreted, 20u);
}

TEST_F(Translated, AProcessorWithoutMemoryForCodeInterprets) {
  std::vector<CodeMemory::Slice> all;
  while (CodeMemory::Slice s = CodeMemory::get().take()) all.push_back(std::move(s));
  machine->put_bytes(code, {0xff, 0xc0, 0xf4});  // inc eax; hlt
  LongModeMachine::Processor p(*machine, code);
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 1u);
  EXPECT_FALSE(counters(p).works);
  EXPECT_EQ(counters(p).blocks, 0u);
}

TEST_F(Translated, AFullCacheBeginsAnew) {
  with({.entries = 0, .code_bytes = u64{80} << 10});
  LongModeMachine::Processor p(*machine, code);
  // Blocks of one instruction each, in a ring through a whole page.
  for (u64 at = code; at < code + 0xff0; at += 16) machine->put_bytes(at, {0xff, 0xc0, 0xeb, 12});
  machine->put_bytes(code + 0xff0, {0xff, 0xc9, 0x0f, 0x85});
  machine->put<u32>(code + 0xff4, static_cast<u32>(-0xff8));
  machine->put_bytes(code + 0xff8, {0xf4});
  p.reg(arch::rcx) = 10;
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 2550u);
  EXPECT_GT(counters(p).flushes, 0u);
}

// ------------------------------------------------------------------------------------------------ code that is written

TEST_F(Translated, TheNextInstructionIsWritten) {
  // mov byte [rip+1], 7: into what follows; mov eax, 1; hlt
  machine->put_bytes(code, {0xc6, 0x05, 1, 0, 0, 0, 7, 0xb8, 1, 0, 0, 0, 0xf4});
  LongModeMachine::Processor p(*machine, code);
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 7u);
  machine->put_bytes(code, {0xc6, 0x05, 1, 0, 0, 0, 9});
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 9u);
}

TEST_F(Translated, ALoopWritesIntoItself) {
  // loop: add eax, 1 (its immediate grows: inc byte [rip-7]); dec ecx; jnz loop; hlt
  machine->put_bytes(code, {0x83, 0xc0, 1, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf3, 0xf4});
  LongModeMachine::Processor p(*machine, code);
  p.reg(arch::rcx) = 100;
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 5050u);
}

/// loop: call what; dec ecx; jnz loop; hlt
void put_caller(LongModeMachine& m, u64 what) {
  m.put_bytes(code, {0xe8, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0xf4});
  m.put<u32>(code + 1, static_cast<u32>(what - (code + 5)));
}
/// mov eax, value; ret
void put_callee(LongModeMachine& m, u64 at, u8 value) { m.put_bytes(at, {0xb8, value, 0, 0, 0, 0xc3}); }

TEST_F(Translated, ABlockThatOthersAreLinkedToIsWritten) {
  for (const u64 callee : {code + 0x100, other_page + 0x100}) {
    put_caller(*machine, callee);
    put_callee(*machine, callee, 1);
    machine->put_bytes(aside, {0xc6, 0x07, 3, 0xf4});  // mov byte [rdi], 3; hlt
    LongModeMachine::Processor p(*machine, code), other(*machine, aside);
    p.reg(arch::rsp) = other.reg(arch::rsp) = aside + 0x1000;
    const auto expect = [&](u64 value) {
      p.reg(arch::rcx) = 50;
      p.run_to_halt(code);
      EXPECT_EQ(p.reg(arch::rax), value);
    };
    expect(1);
    put_callee(*machine, callee, 2);  // a device
    expect(2);
    p.reg(arch::rdi) = callee + 1;
    p.run_to_halt(aside);
    expect(3);
    machine->put_bytes(aside + 2, {4});
    other.reg(arch::rdi) = callee + 1;
    other.run_to_halt(aside);
    expect(4);
    machine->put_bytes(aside + 2, {5});
    machine->map(alias, callee & ~u64{0xfff});
    p.reg(arch::rdi) = alias + 0x101;
    p.run_to_halt(aside);
    expect(5);
    // Linked again: what is written costs no look-ups for ever.
    const u64 lookups = p.cpu.blocks->lookups();
    expect(5);
    EXPECT_LE(p.cpu.blocks->lookups() - lookups, 4u);
  }
}

TEST_F(Translated, ALoopSeesWhatAnotherThreadWritesToItsEnd) {
  machine->put_bytes(code, {0xff, 0xc0, 0xeb, 0xfc});  // loop: inc eax; jmp loop
  LongModeMachine::Processor p(*machine, code);
  std::thread runs([&] { p.run_to_halt(code); });
  while (p.vcpu.impl().engine_counters().blocks == 0) std::this_thread::yield();
  machine->put_bytes(code + 2, {0xf4});
  runs.join();
}

TEST_F(Translated, ALoopSeesKicksAndTheBudget) {
  machine->put_bytes(code, {0xeb, 0xfe});  // jmp to itself
  LongModeMachine::Processor p(*machine, code);
  EXPECT_EQ(p.vcpu.run(1000).reason, ExitReason::preemption_timer);
  EXPECT_EQ(p.vcpu.instructions(), 1000u);
  std::thread kicks([&] { p.vcpu.kick(); });
  EXPECT_EQ(p.vcpu.run(~u64{0}).reason, ExitReason::external_interrupt);
  kicks.join();
}

TEST_F(Translated, CodeGoesWithItsSlots) {
  machine->put_bytes(code, {0xff, 0xc0, 0xf4});
  LongModeMachine::Processor p(*machine, code);
  p.run_to_halt(code);
  ASSERT_TRUE(machine->memory.map_ram(arch::Gpa{0x100'0000}, 0x1000));
  ASSERT_TRUE(machine->memory.unmap(arch::Gpa{0x100'0000}, 0x1000));
  p.run_to_halt(code);
  EXPECT_EQ(p.reg(arch::rax), 2u);
  EXPECT_EQ(counters(p).blocks, 2u) << "it was forgotten";
}

// ------------------------------------------------------------------------------------------------ returns

TEST_F(Translated, AReturnGoesWhereTheStackSays) {
  // call f; hlt; and f, whose return address is one byte further every other time: and byte [rsp], ...
  machine->put_bytes(code, {0xe8, 0xfb, 0, 0, 0, 0xf4, 0xff, 0xc3, 0xf4});  // call code+0x100; hlt; inc ebx; hlt
  machine->put_bytes(code + 0x100, {0x48, 0x01, 0x0c, 0x24, 0xc3});         // add [rsp], rcx; ret
  LongModeMachine::Processor p(*machine, code);
  p.reg(arch::rsp) = aside + 0x1000;
  for (unsigned i = 0; i < 10; ++i) {
    p.reg(arch::rcx) = i % 2;
    p.run_to_halt(code);
    EXPECT_EQ(p.reg(arch::rbx), (i + 1) / 2);
  }
}

TEST_F(Translated, AReturnBehindACallThatIsNoMore) {
  // The callee writes another call in place of the one that it came from, and runs it before it returns.
  constexpr u64 site = code + 0x200, callee = code + 0x300, other = code + 0x100;
  machine->put_bytes(site, {0xe8, 0xfb, 0, 0, 0});                   // call callee
  machine->put_bytes(callee, {0x48, 0x89, 0x07, 0xe9, 0, 0, 0, 0});  // mov [rdi], rax; jmp site
  machine->put<u32>(callee + 4, static_cast<u32>(site - (callee + 8)));
  machine->put_bytes(other, {0xc3});
  LongModeMachine::Processor p(*machine, code);
  p.reg(arch::rsp) = aside + 0x1000;
  p.reg(arch::rdi) = site;
  // nop; call other; ret; hlt: and behind the old call stands inc ebx; hlt
  p.reg(arch::rax) = 0xf4c3'0000'0000'e890 | u64{static_cast<u32>(other - (site + 6))} << 16;
  p.run_to_halt(site);
  EXPECT_EQ(p.reg(arch::rbx), 1u);
  EXPECT_EQ(p.reg(arch::rsp), aside + 0x1000);
}

TEST_F(Translated, AReturnToAPageThatIsAnother) {
  // call [rsi]'s function, which maps another page where its caller was: the one behind it, whose code counts in ecx.
  for (const u64 page : {code, code + 0x1000}) {
    machine->put_bytes(page,
                       {0xff, 0xd6, 0xff, page == code ? u8{0xc3} : u8{0xc1}, 0xf4});  // call rsi; inc ebx / ecx; hlt
  }
  const u64 entry = LongModeMachine::tables + 3 * arch::page_size + alias / arch::page_size * 8;
  machine->put_bytes(aside, {0x48, 0x89, 0x07, 0x41, 0x0f, 0x01, 0x38, 0xc3});  // mov [rdi], rax; invlpg [r8]; ret
  LongModeMachine::Processor p(*machine, code);
  p.reg(arch::rsp) = aside + 0x1000;
  p.reg(arch::rsi) = aside;
  p.reg(arch::rdi) = entry;
  p.reg(arch::r8) = alias;
  for (unsigned i = 0; i < 6; ++i) {
    machine->map(alias, code);
    p.cpu.mmu->flush_all();
    p.reg(arch::rax) = machine->get<u64>(entry) + (i % 2) * arch::page_size;
    p.run_to_halt(alias);
    EXPECT_EQ(p.reg(arch::rbx), i / 2 + 1);
    EXPECT_EQ(p.reg(arch::rcx), (i + 1) / 2);
  }
}

// ------------------------------------------------------------------------------------------------ constants

bool is_in_code(const LongModeMachine::Processor& p, u32 constant) {
  const std::span<const u8> all = static_cast<const CompilerEngine&>(*p.cpu.engine).code();
  for (std::size_t i = 0; i + 4 <= all.size(); ++i)
    if (std::memcmp(&all[i], &constant, 4) == 0) return true;
  return false;
}

TEST_F(Translated, NoConstantOfTheGuestsIsInTheCode) {
  constexpr u32 constant = 0x1234'5678 ^ 0x0bad'c0de;
  for (const bool blinded : {false, true}) {
    with({.entries = 0, .blinded = blinded});
    // add eax, constant; mov ecx, constant; mov [rdi], constant; lea rdx, [rax+constant]; hlt
    machine->put_bytes(
        code, {0x05, 0, 0, 0, 0, 0xb9, 0, 0, 0, 0, 0xc7, 0x07, 0, 0, 0, 0, 0x48, 0x8d, 0x90, 0, 0, 0, 0, 0xf4});
    for (const u64 at : {1, 6, 12, 19}) machine->put<u32>(code + at, constant);
    LongModeMachine::Processor p(*machine, code);
    p.reg(arch::rdi) = aside;
    p.run_to_halt(code);
    EXPECT_EQ(p.reg(arch::rax), constant);
    EXPECT_EQ(p.reg(arch::rcx), constant);
    EXPECT_EQ(p.reg(arch::rdx), u64{constant} + constant);
    EXPECT_EQ(machine->get<u32>(aside), constant);
    EXPECT_EQ(is_in_code(p, constant), !blinded);
  }
}

}  // namespace
}  // namespace cloister::silicon
