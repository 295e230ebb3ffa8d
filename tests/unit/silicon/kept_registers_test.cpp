// The guest's registers that the host has no register for: the second scratch register keeps the last one that was
// computed, as long as nothing else needs it (engine/compiler/translator.hpp, into()). What comes out is what the
// interpreter computes.
#include <array>
#include <charconv>

#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, data = 0x20000, stack = 0x28000;

struct Program {
  const char* text;
  std::string_view bytes;  ///< in hexadecimal, with HLT behind
};

// clang-format off
constexpr Program programs[] = {
    {"mov r10, -1; lea r9, [rax+rdx]; lea r10w, [rax+r9*2]; mov r11, r10", "49c7c2ffffffff4c8d0c1066468d14484d89d3f4"},
    {"lea r9, [rax+rdx]; mov [rdi], r9; add rax, r9; xor rdx, r9", "4c8d0c104c890f4c01c84c31caf4"},
    {"lea r9, [rax+rdx]; add r10d, r9d; xor rax, r9; add r10, r9", "4c8d0c104501ca4c31c84d01caf4"},
    {"lea r9, [rax+rdx]; mov r9b, 5; add rax, r9; mov r9w, 7; xor rdx, r9", "4c8d0c1041b1054c01c86641b907004c31caf4"},
    {"lea r9, [rax+rdx]; cmp rax, r9; setb r9b; add rax, r9", "4c8d0c104c39c8410f92c14c01c8f4"},
    {"lea r9, [rax+rdx]; mov r10d, r9d; mov r9, r10; add rax, r9", "4c8d0c104589ca4d89d14c01c8f4"},
    {"lea r9d, [rax+rdx]; add r9d, eax; adc r9, rdx; sbb r10, r9; xor rax, r9", "448d0c104101c14911d14d19ca4c31c8f4"},
    {"lea r9, [rax+rdx]; imul r10, r9, 3; add rax, r9; add rax, r10", "4c8d0c104d6bd1034c01c84c01d0f4"},
    {"lea r9, [rax+rdx]; xchg r9, r10; add rax, r9; sub rdx, r10", "4c8d0c104d87d14c01c84c29d2f4"},
    {"lea r9, [rax+rdx]; mov r11, [rdi+r9*1-0x22]; add rax, r9", "4c8d0c104e8b5c0fde4c01c8f4"},
    {"lea r9, [rdi+8]; mov [r9+rsi], eax; movzx r10, byte ptr [r9+rsi]; add r10, [r9+rsi*2]; mov [rdi+0x40], r9", "4c8d4f08418904314d0fb614314d0314714c894f40f4"},
    {"lea r15, [rax+1]; shl r15, 3; shr r15d, 1; rol r15, 7; add rax, r15; bswap r15; xor rax, r15", "4c8d780149c1e70341d1ef49c1c7074c01f8490fcf4c31f8f4"},
    {"lea r9, [rax+rdx]; test r9, r9; cmovz rax, r9; cmovnz rdx, r9; not r9; neg r9; inc r9; sub rax, r9", "4c8d0c104d85c9490f44c1490f45d149f7d149f7d949ffc14c29c8f4"},
    {"lea r9, [rax+rdx]; mov r9, 0x123456789abcdef; add rax, r9; movzx r9d, al; movsx r10, r9b; add rdx, r10", "4c8d0c1049b9efcdab89674523014c01c8440fb6c84d0fbed14c01d2f4"},
    {"lea r9, [rax+rdx]; push r9; pop r10; add rax, r9; add rdx, r10", "4c8d0c104151415a4c01c84c01d2f4"},
    {"lea r11, [rax+rdx]; test rax, rax; jz 1f; add rax, r11; 1: lea r11, [r11+r11*2]; xor rdx, r11", "4c8d1c104885c074034c01d84f8d1c5b4c31daf4"},
};
// clang-format on

struct Outcome {
  std::array<u64, 16> registers;
  u64 flags;
  std::array<u64, 16> memory;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome(const Program& program, EngineKind engine, u64 rax) {
  LongModeMachine machine(engine);
  for (u64 at = 0; at < program.bytes.size(); at += 2) {
    u8 byte = 0;
    std::from_chars(&program.bytes[at], &program.bytes[at] + 2, byte, 16);
    machine.put(code + at / 2, byte);
  }
  LongModeMachine::Processor p(machine, code);
  const auto set = [&] {
    for (unsigned i = 0; i < 16; ++i) p.cpu.gpr[i] = u64{0x1111'1111'1111'1111} * i;
    p.reg(arch::rax) = rax;
    p.reg(arch::rdx) = 0x22;
    p.reg(arch::rdi) = data - rax;
    p.reg(arch::rsi) = rax;
    p.reg(arch::rsp) = stack;
  };
  // The second time what it needs is in the TLB.
  for (unsigned time = 0; time < 2; ++time) {
    set();
    p.run_to_halt(code);
  }
  Outcome out{.registers = {}, .flags = p.cpu.rflags(), .memory = {}};
  std::copy_n(p.cpu.gpr.begin(), 16, out.registers.begin());
  for (u64 i = 0; i < out.memory.size(); ++i) out.memory[i] = machine.get<u64>(data + 8 * i);
  return out;
}

TEST(KeptRegisters, HaveTheInterpretersValues) {
  if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
  set_compiler_options({.entries = 0});
  for (const Program& program : programs) {
    for (const u64 rax : {u64{0}, u64{0x123}}) {
      EXPECT_EQ(outcome(program, EngineKind::compiler, rax), outcome(program, EngineKind::interpreter, rax))
          << program.text << ", rax " << rax;
    }
  }
  set_compiler_options({});
}

}  // namespace
}  // namespace cloister::silicon
