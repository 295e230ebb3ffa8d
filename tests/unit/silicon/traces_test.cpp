// Blocks that are translated together (engine/compiler/trace.hpp): nobody can tell, wherever they are left: by a
// branch, by a fault or a store in their midst, and when the budget ends.
#include <algorithm>
#include <random>

#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, data = 0x20000, stack = 0x28000, data_bytes = 2 * arch::page_size;
constexpr u8 nop = 0x90;

class Traces : public testing::Test {
 protected:
  void SetUp() override {
    if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
    set_compiler_options({.entries = 3});
  }
  void TearDown() override { set_compiler_options({}); }
};

struct Machine : LongModeMachine {
  explicit Machine(EngineKind engine) : LongModeMachine(engine), p(*this, code) {
    vmx::Controls controls;
    controls.exception_bitmap = ~u32{0};
    p.vcpu.set_controls(controls);
  }
  const EngineCounters& counters() { return p.vcpu.impl().engine_counters(); }
  Processor p;
};

TEST_F(Traces, ALoopIsOne) {
  Machine m(EngineKind::compiler);
  // loop: dec ecx; jz out; inc eax; test al, 1; jz loop; inc edx; jmp loop; out: hlt
  m.put_bytes(code, {0xff, 0xc9, 0x74, 0x0a, 0xff, 0xc0, 0xa8, 0x01, 0x74, 0xf6, 0xff, 0xc2, 0xeb, 0xf2, 0xf4});
  m.p.reg(arch::rcx) = 1001;
  m.p.run_to_halt(code);
  EXPECT_EQ(m.p.reg(arch::rax), 1000u);
  EXPECT_EQ(m.p.reg(arch::rdx), 500u);
  EXPECT_EQ(m.counters().blocks, 1u);
}

TEST_F(Traces, AMissInALaterBlockCountsAsItShould) {
  // loop: dec ecx; jz out; mov [rdi], ecx; add rdi, 4096; jmp loop; out: hlt
  for (const u64 budget : {u64{7}, u64{61}, u64{1000}}) {
    Machine m(EngineKind::compiler);
    m.put_bytes(code, {0xff, 0xc9, 0x74, 0x0b, 0x89, 0x0f, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0xeb, 0xf1, 0xf4});
    m.p.reg(arch::rcx) = 21;
    m.p.reg(arch::rdi) = data;
    Exit exit = m.p.vcpu.run(budget);
    u64 runs = 1;
    for (; exit.reason == ExitReason::preemption_timer; ++runs) {
      EXPECT_EQ(m.p.vcpu.instructions(), runs * budget);
      exit = m.p.vcpu.run(budget);
    }
    EXPECT_EQ(exit.reason, ExitReason::hlt);
    EXPECT_EQ(m.p.reg(arch::rdi), data + 20 * arch::page_size);
    for (u32 n = 0; n < 20; ++n) EXPECT_EQ(m.get<u32>(data + n * arch::page_size), 20 - n);
  }
}

/// Blocks of some instructions in one page, which lead to each other by conditions that change.
std::vector<u8> random_flow(std::mt19937_64& random) {
  const auto below = [&](u64 n) { return random() % n; };
  constexpr unsigned blocks = 10, room = 40;
  std::vector<u8> all(blocks * room, nop);
  for (unsigned b = 0; b < blocks; ++b) {
    std::vector<u8> bytes;
    const auto put = [&](std::initializer_list<u64> list) {
      for (const u64 byte : list) bytes.push_back(static_cast<u8>(byte));
    };
    const auto reg = [&] { return std::array<u64, 5>{0, 1, 2, 6, 7}[below(5)]; };  // not rbx, rsp and rbp
    const auto pair = [&] { return 0xc0 | reg() << 3 | reg(); };
    for (u64 n = below(5); n > 0; --n) {
      switch (below(11)) {
        case 0: put({0x01, pair()}); break;
        case 1: put({0x29, pair()}); break;
        case 2: put({0x48, 0x31, pair()}); break;
        case 3: put({0x83, 0xc0 | reg(), below(256)}); break;                    // add
        case 4: put({0xff, 0xc0 | reg() | below(2) << 3}); break;                // inc, dec
        case 5: put({0xc1, 0xc0 | below(2) << 3 | reg(), 1 + below(8)}); break;  // rol, ror
        case 6: put({0x89, 0x43 | reg() << 3, below(120)}); break;               // mov [rbx+disp], reg
        case 7: put({0x8b, 0x43 | reg() << 3, below(120)}); break;
        case 8: put({0x01, 0x43 | reg() << 3, below(120)}); break;
        case 9: put({0x89, 0x45 | reg() << 3, below(64)}); break;  // into what rbp points to: data, or this code
        default: put({0x50 | reg(), 0x58 | reg()});                // push, pop
      }
    }
    const auto to = [&](u64 from) {
      return static_cast<u64>(static_cast<i64>(below(blocks) * room) - static_cast<i64>(from));
    };
    switch (below(6)) {
      case 0: put({0xeb, 0}); break;
      case 1: put({0xe8, 0, 0, 0, 0}); break;
      case 2:
        if (below(4) == 0) {
          put({0xf4});
          break;
        }
        [[fallthrough]];
      default: put({0x39, pair(), 0x0f, 0x80 | below(16), 0, 0, 0, 0});  // cmp, jcc
    }
    const u64 end = b * room + bytes.size();
    if (bytes.size() >= 2 && bytes[bytes.size() - 2] == 0xeb) {
      bytes.back() = static_cast<u8>((b + 1) * room - end);
    } else if (bytes.back() == 0 && bytes.size() >= 5) {
      const u32 distance = static_cast<u32>(to(end));
      std::memcpy(&bytes[bytes.size() - 4], &distance, 4);
    }
    std::ranges::copy(bytes, all.begin() + b * room);
  }
  all.push_back(0xf4);
  return all;
}

TEST_F(Traces, NobodyCanTell) {
  Machine interpreted(EngineKind::interpreter), translated(EngineKind::compiler);
  std::mt19937_64 random(0x7ace);
  for (unsigned n = 0; n < 1500 && !HasFailure(); ++n) {
    const std::vector<u8> flow = random_flow(random);
    GeneralRegs start = interpreted.p.vcpu.general();
    for (u64& r : start.gpr) r = random() % 64;
    start.gpr[arch::rbx] = data + (random() % 4 == 0 ? arch::page_size - 60 : random() % 256);
    start.gpr[arch::rbp] = random() % 8 == 0 ? code + random() % 400 : data + random() % 64;
    start.gpr[arch::rsp] = stack;
    start.rip = code;
    const u64 cut = random() % 3 == 0 ? 5 + random() % 60 : 400;
    for (unsigned again = 0; again < 3 && !HasFailure(); ++again) {
      const std::vector<std::byte> fill(data_bytes, std::byte{static_cast<u8>(random())});
      // The second page can be taken away: what reaches over into it faults.
      const bool absent = random() % 4 == 0;
      for (Machine* const m : {&interpreted, &translated}) {
        if (again == 0) {
          EXPECT_TRUE(m->memory.write(arch::Gpa{code}, std::as_bytes(std::span(flow))));
        }
        EXPECT_TRUE(m->memory.write(arch::Gpa{data}, fill));
        const u64 entry = LongModeMachine::tables + 3 * arch::page_size + (data / arch::page_size + 1) * 8;
        m->put<u64>(entry, (m->get<u64>(entry) & ~arch::pte::p) | (absent ? 0 : arch::pte::p));
        m->p.cpu.mmu->flush_page(data + arch::page_size);
        m->p.vcpu.set_general(start);
      }
      for (unsigned run = 0; run < 12; ++run) {
        const Exit one = interpreted.p.vcpu.run(cut), two = translated.p.vcpu.run(cut);
        const GeneralRegs a = interpreted.p.vcpu.general(), b = translated.p.vcpu.general();
        ASSERT_EQ(one.reason, two.reason) << n;
        ASSERT_EQ(interpreted.p.vcpu.instructions(), translated.p.vcpu.instructions()) << n;
        ASSERT_EQ(a.rip, b.rip) << n;
        ASSERT_EQ(a.rflags, b.rflags) << n;
        ASSERT_EQ(a.gpr, b.gpr) << n;
        if (one.reason != ExitReason::preemption_timer) break;
      }
      std::array<std::vector<std::byte>, 2> memory;
      for (auto& all : memory) all.resize(LongModeMachine::ram_bytes);
      EXPECT_TRUE(interpreted.memory.read(arch::Gpa{0}, memory[0]));
      EXPECT_TRUE(translated.memory.read(arch::Gpa{0}, memory[1]));
      EXPECT_TRUE(memory[0] == memory[1]) << n;
    }
  }
  EXPECT_GT(translated.counters().blocks, 1000u);
}

}  // namespace
}  // namespace cloister::silicon
