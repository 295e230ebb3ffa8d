// Random code of 64-bit mode, interpreted and translated: the same registers, flags, memory, exits and counts, wherever
// it faults and however its budget is cut. What single instructions do is the oracle's to judge; this is about what
// they do to each other: flags that live across some of them, registers in memory or not, faults amid a block, SSE that
// is blocked or has unmasked exceptions.
#include <random>
#include <sstream>

#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/host_features.hpp"

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

  /// A double, or two singles: of like exponents, or one that is rounded, denormal, infinite or none.
  u64 number() {
    const u64 double_exponent = one_in(4) ? below(3) * 0x3ff : 0x3f0 + below(32);
    const u64 single = (one_in(4) ? below(3) * 0x7f : 0x70 + below(32)) << 23 | (any() & 0x807f'ffff);
    return one_in(2) ? double_exponent << 52 | (any() & 0x800f'ffff'ffff'ffff) : single << 32 | single;
  }

  /// Instructions that end in HLT.
  std::vector<u8> block() {
    out_.clear();
    vectors_ = one_in(2);
    vex_ = one_in(2);
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
    operands(reg < 8 ? reg : safe(), memory, 1);
    if (imm == 1) put_bytes(constant(), 1);
    if (imm == 4) put_bytes(constant(), word && (bits & 8) == 0 ? 2 : 4);
  }
  void operands(u8 reg, bool memory, u64 aligned) {
    const u8 middle = static_cast<u8>(reg << 3);
    if (!memory) return put({static_cast<u8>(0xc0 | middle | safe())});
    const auto offset = [&](u64 n) { return below(n) / aligned * aligned; };
    switch (below(6)) {
      case 0: put({static_cast<u8>(0x84 | middle), 0x33}), put_bytes(offset(data_bytes), 4); break;  // [rbx+rsi+disp]
      case 1: put({static_cast<u8>(0x80 | middle | rbx)}), put_bytes(offset(0x40) + 0xfc0, 4); break;
      case 2: put({static_cast<u8>(0x44 | middle), 0xe3, static_cast<u8>(offset(128))}); break;  // rsp has no index
      case 3: put({static_cast<u8>(0x04 | middle), 0x25}), put_bytes(data + offset(0x1100), 4); break;
      default: put({static_cast<u8>(0x40 | middle | rbx), static_cast<u8>(offset(128))});
    }
    if (one_in(60)) out_.back() = static_cast<u8>(any());
  }
  /// SSE: a mandatory prefix or 0, and the opcode without 0F.
  void vector(u8 prefix, std::initializer_list<u8> opcode, Rm rm = Rm::either, unsigned imm = 0) {
    const bool memory = rm == Rm::memory || (rm == Rm::either && one_in(2));
    if (one_in(12)) out_.push_back(0x65);  // GS
    if (prefix != 0) out_.push_back(prefix);
    if (one_in(2)) out_.push_back(static_cast<u8>(0x40 | below(memory ? 2 : 4) << 2 | (memory ? 0 : below(2))));
    out_.push_back(0x0f);
    out_.insert(out_.end(), opcode.begin(), opcode.end());
    operands(static_cast<u8>(below(8)), memory, one_in(8) ? 1 : 16);
    put_bytes(any(), imm);
  }
  void vector() {
    constexpr std::array<u8, 4> prefixes{0, 0x66, 0xf3, 0xf2};
    const auto prefix = [&](u64 n = 4) { return prefixes[below(n)]; };
    constexpr std::array<u8, 7> arithmetic{0x51, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f};
    constexpr std::array<u8, 9> by_general{0x6e, 0x7e, 0x2a, 0x2c, 0x2d, 0x50, 0xd7, 0xc4, 0x6e};
    switch (below(14)) {
      case 0:
      case 1: return vector(prefix(), {static_cast<u8>(0x10 | below(2))});
      case 2: return vector(0, {static_cast<u8>(0x12 | below(6))}, Rm::memory);
      case 3: return vector(prefix(2), {static_cast<u8>(0x28 | below(2))});
      case 4: return vector(prefixes[1 + below(2)], {static_cast<u8>(one_in(2) ? 0x6f : 0x7f)});
      case 5:
      case 6: return vector(prefix(), {arithmetic[below(arithmetic.size())]});
      case 7: return vector(prefix(2), {static_cast<u8>(0x2e | below(2))});
      case 8: return vector(0x66, {static_cast<u8>(0xd4 | below(12))});
      case 9: return vector(0x66, {static_cast<u8>(0x60 | below(14))});
      case 10: return vector(0x66, {0x70}, Rm::either, 1);
      case 11: return vector(0x66, {static_cast<u8>(0x71 | below(3)), static_cast<u8>(0xd0 | below(8)), 5}, Rm::reg);
      case 12: {
        const u8 opcode = by_general[below(by_general.size())];
        const bool scalar = opcode == 0x2a || opcode == 0x2c || opcode == 0x2d;
        return vector(scalar ? prefixes[2 + below(2)] : 0x66, {opcode}, opcode == 0x50 ? Rm::reg : Rm::either,
                      opcode == 0xc4 ? 1 : 0);
      }
      default: return vector(0, {0xae}, Rm::memory);  // FXSAVE, LDMXCSR, STMXCSR and others by their digit
    }
  }
  /// VEX-encoded vector instructions of each map, for 128 and 256 bits; some are undefined.
  void vex() {
    struct Range {
      u8 map, pp, first, last, imm;
    };
    constexpr u8 any_pp = 4;
    constexpr Range ranges[] = {
        {1, any_pp, 0x10, 0x17, 0}, {1, 0, 0x28, 0x29, 0},      {1, 1, 0x28, 0x29, 0}, {1, any_pp, 0x51, 0x5f, 0},
        {1, any_pp, 0x2a, 0x2f, 0}, {1, 1, 0x60, 0x6e, 0},      {1, 1, 0x6f, 0x6f, 0}, {1, 2, 0x6f, 0x6f, 0},
        {1, any_pp, 0x70, 0x70, 1}, {1, 1, 0x71, 0x73, 1},      {1, 1, 0x74, 0x76, 0}, {1, 2, 0x7e, 0x7f, 0},
        {1, 1, 0x7e, 0x7f, 0},      {1, any_pp, 0xc2, 0xc2, 1}, {1, 1, 0xc4, 0xc6, 1}, {1, 1, 0xd1, 0xfe, 0},
        {2, 1, 0x00, 0x1e, 0},      {2, 1, 0x20, 0x47, 0},      {2, 1, 0x58, 0x5a, 0}, {2, 1, 0x78, 0x79, 0},
        {2, 1, 0x8c, 0x93, 0},      {2, 1, 0x96, 0xbf, 0},      {2, 1, 0xdb, 0xdf, 0}, {3, 1, 0x00, 0x0f, 1},
        {3, 1, 0x14, 0x22, 1},      {3, 1, 0x38, 0x4c, 1}};
    if (one_in(8)) return put({0xc5, 0xf8, 0x77});  // vzeroupper
    const Range& r = ranges[below(std::size(ranges))];
    const bool memory = one_in(2);
    const u64 pp = r.pp == any_pp ? below(4) : r.pp, third = one_in(2) ? 15 : below(16), l = below(2), w = one_in(4);
    const u64 inverted = below(2) << 7 | 0x40 | (memory || one_in(2) ? 0x20 : 0);
    put({0xc4, static_cast<u8>(inverted | r.map), static_cast<u8>(w << 7 | third << 3 | l << 2 | pp),
         static_cast<u8>(r.first + below(r.last - r.first + 1u))});
    operands(static_cast<u8>(below(8)), memory, one_in(8) ? 1 : 32);
    put_bytes(any(), r.imm);
  }
  /// Bit scans and counts, BMI1, BMI2 and MOVBE; some are undefined.
  void bits() {
    constexpr u8 any_reg = 16;
    if (one_in(3)) {
      const u8 opcode = static_cast<u8>(0xbc | below(2));
      if (one_in(2)) out_.push_back(0xf3);
      return general({0x0f, opcode}, any_reg);
    }
    if (one_in(6)) {
      out_.push_back(0xf3);
      return general({0x0f, 0xb8}, any_reg);
    }
    if (one_in(6)) return general({0x0f, 0x38, static_cast<u8>(0xf0 | below(2))}, any_reg, Rm::memory);  // MOVBE
    constexpr std::array<u8, 6> opcodes{0xf2, 0xf3, 0xf5, 0xf5, 0xf6, 0xf7};
    const bool rotates = one_in(5), memory = one_in(2);
    const u8 opcode = rotates ? 0xf0 : opcodes[below(opcodes.size())];
    const u64 pp = rotates || opcode == 0xf6 ? 3 : opcode < 0xf5 ? 0 : below(4);
    const u64 third = rotates ? 0 : one_in(2) ? safe() : 8 + below(8);
    const u64 inverted = below(2) << 7 | 0x40 | (memory || one_in(2) ? 0x20 : 0);
    put({0xc4, static_cast<u8>(inverted | (rotates ? 3 : 2)), static_cast<u8>(below(2) << 7 | (~third & 15) << 3 | pp),
         opcode});
    operands(opcode == 0xf3 ? static_cast<u8>(1 + below(3)) : safe(), memory, 1);
    if (rotates) put_bytes(any(), 1);
  }
  /// CDQ or CQO, or a high half of 0, and a division that seldom faults.
  void divide() {
    const bool is_signed = one_in(2), wide = one_in(2);
    if (!is_signed) {
      put({0x31, 0xd2});  // xor edx, edx
    } else {
      if (wide) out_.push_back(0x48);
      out_.push_back(0x99);
    }
    if (wide) out_.push_back(0x48);
    put({0xf7, static_cast<u8>((is_signed ? 0xf8 : 0xf0) | safe())});
  }
  /// What LOCK may stand before: it does every other time.
  void exchange() {
    if (one_in(2)) out_.push_back(0xf0);
    const u8 size = static_cast<u8>(below(2));
    switch (below(5)) {
      case 0: return general({static_cast<u8>(below(7) << 3 | size)}, 16, Rm::memory);
      case 1: return general({static_cast<u8>(0xfe | size)}, static_cast<u8>(below(2)), Rm::memory);
      case 2: return general({0x0f, static_cast<u8>(0xc0 | size)}, 16, Rm::memory);
      case 3: return general({0x0f, 0xba}, static_cast<u8>(5 + below(3)), Rm::memory, 1);
      default: return general({0x0f, static_cast<u8>(0xb0 | size)}, 16, Rm::memory);
    }
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
    switch (below(vectors_ ? 54 : 40)) {
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
      case 33: return general({static_cast<u8>(0x86 | below(2))}, any_reg);
      case 34:
      case 35: return exchange();
      case 36: return divide();
      case 37:
      case 38:
      case 39:
        bits();
        // A branch by what they leave, over mov al, imm8.
        if (one_in(3)) put({static_cast<u8>(0x70 | below(16)), 2, 0xb0, static_cast<u8>(any())});
        return;
      default: return vex_ && one_in(2) ? vex() : vector();
    }
  }

  std::mt19937_64 random_;
  bool vectors_ = false, vex_ = false;
  std::vector<u8> out_;
};

struct Machine : LongModeMachine {
  explicit Machine(EngineKind engine) : LongModeMachine(engine), processor(*this, code) {
    vmx::Controls controls;
    controls.exception_bitmap = ~u32{0};
    processor.vcpu.set_controls(controls);
    processor.cpu.cr4 |= arch::cr4::osfxsr | arch::cr4::osxmmexcpt | arch::cr4::osxsave;
    processor.cpu.xcr0 = host_features().avx ? 7 : 3;
    update_fpu_blocks(processor.cpu);
  }
  void set_vectors(const std::array<u64, 64>& ymm, u32 mxcsr, bool blocked) {
    std::memcpy(processor.cpu.fpu.xmm[0].byte.data(), ymm.data(), sizeof processor.cpu.fpu.xmm);
    std::memcpy(processor.cpu.fpu.upper[0].byte.data(), &ymm[32], sizeof processor.cpu.fpu.upper);
    set_guest_mxcsr(processor.cpu, mxcsr);
    processor.cpu.cr0 = (processor.cpu.cr0 & ~arch::cr0::ts) | (blocked ? arch::cr0::ts : 0);
    update_fpu_blocks(processor.cpu);
  }
  Processor processor;
};

std::string state(const Exit& exit, const GeneralRegs& r, u64 instructions, const Cpu& cpu) {
  std::ostringstream out;
  out << "reason " << static_cast<unsigned>(exit.reason) << " vector " << unsigned{exit.interruption.vector}
      << " qualification " << exit.qualification << " instructions " << instructions << std::hex << " rip " << r.rip
      << " flags " << r.rflags;
  for (const u64 value : r.gpr) out << ' ' << value;
  out << " mxcsr " << guest_mxcsr(cpu);
  for (const auto* const halves : {&cpu.fpu.xmm, &cpu.fpu.upper}) {
    for (const Xmm& value : *halves) {
      out << ' ';
      for (const u8 byte : value.byte) out << unsigned{byte} << '.';
    }
  }
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
  const unsigned blocks = GetParam() < 2 ? 20'000 : 5'000;
  for (unsigned n = 0; n < blocks; ++n) {
    const std::vector<u8> block = g.block();
    const u64 at = code + (g.one_in(4) ? arch::page_size - 1 - g.below(64) : g.below(64) * 16);
    GeneralRegs start = interpreted.processor.vcpu.general();
    for (u64& r : start.gpr) r = g.one_in(3) ? g.below(0x1000) : g.any();
    start.gpr[arch::rbx] = data;
    start.gpr[arch::rsp] = stack + g.below(2) * 0x7f8;
    start.rflags = 2 | (g.any() & arch::rflags::status);
    const u64 content = g.one_in(3) ? g.number() : g.any();
    std::array<u64, 64> ymm;
    for (u64& half : ymm) half = g.one_in(2) ? g.number() : g.any();
    const u32 mxcsr = static_cast<u32>((g.one_in(6) ? g.below(64) << 7 : 0x1f80) | g.below(4) << 13 |
                                       (g.one_in(4) ? u64{mxcsr::daz | mxcsr::ftz} : 0));
    const bool blocked = g.one_in(20);
    const u64 cut = g.one_in(2) ? 1 + g.below(30) : 1000;
    for (unsigned again = 0; again < 3 + 2 * GetParam(); ++again) {
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
        m->set_vectors(ymm, mxcsr, blocked);
        vcpu.set_general(start);
        const u64 before = vcpu.instructions();
        for (unsigned run = 0; run < 100; ++run) {
          const Exit exit = vcpu.run(cut);
          seen[which].push_back(state(exit, vcpu.general(), vcpu.instructions() - before, m->processor.cpu));
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
  EXPECT_GT(translated.processor.vcpu.impl().engine_counters().blocks, blocks / 2);
}

INSTANTIATE_TEST_SUITE_P(After, RandomBlocks, testing::Values(0u, 1u, 2u));

}  // namespace
}  // namespace cloister::silicon
