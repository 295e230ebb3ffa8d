// Random code of 64-bit mode, interpreted and translated: the same registers, flags, memory, exits and counts, wherever
// it faults and however its budget is cut. What single instructions do is the oracle's to judge; this is about what
// they do to each other: flags that live across some of them, registers in memory, faults amid a block.
#include <random>
#include <sstream>

#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, data = 0x20000, data_bytes = 0x3000, stack = data + 0x800;
constexpr u8 rbx = 3, rsp = 4;

class Generator {
 public:
  explicit Generator(u64 seed) : random_(seed) {}
  u64 below(u64 n) { return random_() % n; }
  u64 any() { return random_(); }
  bool one_in(u64 n) { return below(n) == 0; }

  /// Instructions that end in HLT.
  std::vector<u8> block() {
    out_.clear();
    for (u64 n = 1 + below(40); n > 0; --n) instruction();
    out_.push_back(0xf4);
    return out_;
  }

 private:
  void put(std::initializer_list<u8> list) { out_.insert(out_.end(), list); }
  void put_bytes(u64 value, unsigned n) {
    for (unsigned i = 0; i < n; ++i) out_.push_back(static_cast<u8>(value >> (8 * i)));
  }
  u64 constant() {
    switch (below(4)) {
      case 0: return below(256) - 128;
      case 1: return below(65536);
      default: return any();
    }
  }

  enum class Rm : u8 { either, memory, reg };
  /// Prefixes, opcode, ModRM with `reg` in the middle (16: any), an immediate of so many bytes (4: as the operand).
  void general(std::initializer_list<u8> opcode, u8 reg, Rm rm = Rm::either, unsigned imm = 0) {
    const bool word = one_in(6), rex = one_in(2);
    if (one_in(12)) out_.push_back(0x65);  // GS
    if (word) out_.push_back(0x66);
    u8 bits = rex ? static_cast<u8>(0x40 | below(16)) : 0;
    if (reg < 8) bits = static_cast<u8>(bits & ~4);
    const bool memory = rm == Rm::memory || (rm == Rm::either && one_in(2));
    if (memory) bits = static_cast<u8>(bits & ~3);
    if (bits != 0) out_.push_back(bits);
    out_.insert(out_.end(), opcode.begin(), opcode.end());
    const u8 middle = static_cast<u8>((reg < 8 ? reg : safe()) << 3);
    if (!memory) {
      out_.push_back(static_cast<u8>(0xc0 | middle | safe()));
    } else {
      switch (below(6)) {
        case 0: put({static_cast<u8>(0x84 | middle), 0x33}), put_bytes(below(data_bytes), 4); break;  // [rbx+rsi+disp]
        case 1: put({static_cast<u8>(0x80 | middle | rbx)}), put_bytes(below(0x40) + 0xfc0, 4); break;
        case 2: put({static_cast<u8>(0x44 | middle), 0xe3, static_cast<u8>(below(128))}); break;  // rsp has no index
        case 3: put({static_cast<u8>(0x04 | middle), 0x25}), put_bytes(data + below(0x1100), 4); break;
        default: put({static_cast<u8>(0x40 | middle | rbx), static_cast<u8>(below(128))});
      }
      if (one_in(60)) out_.back() = static_cast<u8>(any());
    }
    if (imm == 1) put_bytes(constant(), 1);
    if (imm == 4) put_bytes(constant(), word && (bits & 8) == 0 ? 2 : 4);
  }
  /// Registers that the addresses and the stack need are seldom changed.
  u8 safe() {
    for (;;) {
      const u8 r = static_cast<u8>(below(8));
      if ((r != rbx && r != rsp) || one_in(50)) return r;
    }
  }
  void instruction() {
    const auto digit = [this] { return static_cast<u8>(below(8)); };
    constexpr u8 any_reg = 16;
    switch (below(34)) {
      case 0:
      case 1:
      case 2:
      case 3: return general({static_cast<u8>((below(8) << 3) | below(4))}, any_reg);
      case 4: return general({0x80}, digit(), Rm::either, 1);
      case 5: return general({0x81}, digit(), Rm::either, 4);
      case 6: return general({0x83}, digit(), Rm::either, 1);
      case 7: return general({static_cast<u8>(0x84 | below(2))}, any_reg);
      case 8: return one_in(2) ? general({0xf6}, 0, Rm::either, 1) : general({0xf7}, 0, Rm::either, 4);
      case 9: return general({static_cast<u8>(0xf6 | below(2))}, static_cast<u8>(2 + below(4)));
      case 10: return general({static_cast<u8>(0xfe | below(2))}, static_cast<u8>(below(2)));
      case 11: return general({static_cast<u8>(0xc0 | below(2))}, digit(), Rm::either, 1);
      case 12: return general({static_cast<u8>(0xd0 | below(4))}, digit());
      case 13: return general({0x0f, static_cast<u8>(0xb6 | below(2) | (below(2) << 3))}, any_reg);
      case 14: return general({0x63}, any_reg);
      case 15: return general({0x8d}, any_reg, Rm::memory);
      case 16:
      case 17:
      case 18: return general({static_cast<u8>(0x88 | below(4))}, any_reg);
      case 19: return one_in(2) ? general({0xc6}, 0, Rm::either, 1) : general({0xc7}, 0, Rm::either, 4);
      case 20: put({0x48, static_cast<u8>(0xb8 | safe())}); return put_bytes(constant(), 8);
      case 21: put({static_cast<u8>(0xb8 | safe())}); return put_bytes(constant(), 4);
      case 22: return general({0x0f, static_cast<u8>(0x40 | below(16))}, any_reg);
      case 23: return general({0x0f, static_cast<u8>(0x90 | below(16))}, 0);
      case 24: return put({static_cast<u8>(0x40 | below(2) | (below(2) << 3)), 0x0f, static_cast<u8>(0xc8 | safe())});
      case 25: return put({static_cast<u8>(0x50 | below(8))});
      case 26: return put({static_cast<u8>(0x58 | safe())});
      case 27: return one_in(2) ? put({0x6a, static_cast<u8>(any())}) : (put({0x68}), put_bytes(any(), 4));
      case 28: return put({static_cast<u8>(0x48), static_cast<u8>(0x98 | below(2))});
      case 29:  // a branch over one instruction, and what skips none
        put({static_cast<u8>(0x70 | below(16)), static_cast<u8>(below(2) * 2), 0x66, 0x90});
        return;
      case 30: return put({0xe8, 0, 0, 0, 0});
      case 31: {
        constexpr u8 single[] = {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x9c, 0xfc, 0x90};
        return put({single[below(std::size(single))]});
      }
      case 32: return general({0x0f, 0xaf}, any_reg);
      default: return general({0x87}, any_reg);
    }
  }

  std::mt19937_64 random_;
  std::vector<u8> out_;
};

struct Machine : LongModeMachine {
  explicit Machine(EngineKind engine) : LongModeMachine(engine), processor(*this, code) {
    vmx::Controls controls;
    controls.exception_bitmap = ~u32{0};
    processor.vcpu.set_controls(controls);
  }
  Processor processor;
};

std::string state(const Exit& exit, const GeneralRegs& r, u64 instructions) {
  std::ostringstream out;
  out << "reason " << static_cast<unsigned>(exit.reason) << " vector " << unsigned{exit.interruption.vector}
      << " qualification " << exit.qualification << " instructions " << instructions << std::hex << " rip " << r.rip
      << " flags " << r.rflags;
  for (const u64 value : r.gpr) out << ' ' << value;
  return out.str();
}
std::string hex(const std::vector<u8>& bytes) {
  std::ostringstream out;
  for (const u8 byte : bytes) out << "0123456789abcdef"[byte >> 4] << "0123456789abcdef"[byte & 15];
  return out.str();
}

class RandomBlocks : public testing::TestWithParam<u32> {
 protected:
  void SetUp() override {
    if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
    set_compiler_options({.entries = GetParam()});
  }
  void TearDown() override { set_compiler_options({}); }
};

TEST_P(RandomBlocks, AreTheSameInterpretedAndTranslated) {
  Machine interpreted(EngineKind::interpreter), translated(EngineKind::compiler);
  constexpr u64 seed = 0x5eed'b10c;
  Generator g(seed + GetParam());
  for (unsigned n = 0; n < 20'000; ++n) {
    const std::vector<u8> block = g.block();
    const u64 at = code + (g.one_in(4) ? arch::page_size - 1 - g.below(64) : g.below(64) * 16);
    GeneralRegs start = interpreted.processor.vcpu.general();
    for (u64& r : start.gpr) r = g.one_in(3) ? g.below(0x1000) : g.any();
    start.gpr[arch::rbx] = data;
    start.gpr[arch::rsp] = stack + g.below(2) * 0x7f8;
    start.rflags = 2 | (g.any() & arch::rflags::status);
    const u64 content = g.any();
    const u64 cut = g.one_in(2) ? 1 + g.below(30) : 1000;
    for (unsigned again = 0; again < 3; ++again) {
      std::array<std::vector<std::byte>, 2> memory;
      std::array<std::vector<std::string>, 2> seen;
      unsigned which = 0;
      for (Machine* const m : {&interpreted, &translated}) {
        Vcpu& vcpu = m->processor.vcpu;
        if (again == 0) {
          EXPECT_TRUE(m->memory.write(arch::Gpa{at}, std::as_bytes(std::span(block))));
        }
        std::vector<u64> words(data_bytes / 8, content);
        EXPECT_TRUE(m->memory.write(arch::Gpa{data}, std::as_bytes(std::span(words))));
        start.rip = at;
        vcpu.set_general(start);
        const u64 before = vcpu.instructions();
        for (unsigned run = 0; run < 100; ++run) {
          const Exit exit = vcpu.run(cut);
          seen[which].push_back(state(exit, vcpu.general(), vcpu.instructions() - before));
          if (exit.reason != ExitReason::preemption_timer) break;
        }
        memory[which].resize(data_bytes);
        EXPECT_TRUE(m->memory.read(arch::Gpa{data}, memory[which]));
        ++which;
      }
      const std::string text = hex(block);
      ASSERT_EQ(seen[0], seen[1]) << "block " << n << " run " << again << ": " << text;
      ASSERT_TRUE(memory[0] == memory[1]) << "block " << n << " run " << again << ": " << text;
    }
  }
  EXPECT_GT(translated.processor.vcpu.impl().engine_counters().blocks, 10'000u);
}

INSTANTIATE_TEST_SUITE_P(After, RandomBlocks, testing::Values(0u, 1u));

}  // namespace
}  // namespace cloister::silicon
