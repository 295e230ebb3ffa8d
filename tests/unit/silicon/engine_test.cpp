// What decoding says of an operation beside its handler, and the engine that holds operations against it.
#include <gtest/gtest.h>

#include "silicon/decode/decode.hpp"
#include "silicon/engine/checked_engine.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {
namespace {

using enum Operands;

struct Expected {
  const char* text;  ///< in an assembler's words
  std::vector<u8> code;
  Operands operands;
  u8 bytes = 0, source_bytes = 0;
  bool writes = false, locked = false;
};

// Encodings: SDM vol. 2.
const std::vector<Expected> expected{
    {"add rax, rbx", {0x48, 0x01, 0xd8}, reg_reg, 8, 8, true},
    {"cmp eax, [rcx]", {0x3b, 0x01}, reg_mem, 4, 4, false},
    {"test bl, bl", {0x84, 0xdb}, reg_reg, 1, 1, false},
    {"xor ecx, ecx", {0x31, 0xc9}, reg_reg, 4, 4, true},
    {"or word [rcx], 1", {0x66, 0x83, 0x09, 0x01}, mem_imm, 2, 0, true},
    {"mov [rcx], dl", {0x88, 0x11}, mem_reg, 1, 1, true},
    {"lock add [rcx], eax", {0xf0, 0x01, 0x01}, mem_reg, 4, 4, true, true},
    {"lock inc dword [rcx]", {0xf0, 0xff, 0x01}, mem, 4, 0, true, true},
    {"lock cmpxchg [rcx], edx", {0xf0, 0x0f, 0xb1, 0x11}, mem_reg, 4, 4, true, true},
    {"bts [rcx], edx", {0x0f, 0xab, 0x11}, other},
    {"inc dword [rcx]", {0xff, 0x01}, mem, 4, 0, true},
    {"not rdx", {0x48, 0xf7, 0xd2}, reg, 8, 0, true},
    {"shl edx, cl", {0xd3, 0xe2}, reg_cl, 4, 1, true},
    {"sar byte [rcx], 3", {0xc0, 0x39, 0x03}, mem_imm, 1, 0, true},
    {"ror qword [rcx], cl", {0x48, 0xd3, 0x09}, mem_cl, 8, 1, true},
    {"movzx eax, byte [rcx]", {0x0f, 0xb6, 0x01}, reg_mem, 4, 1, true},
    {"movsxd rax, ecx", {0x48, 0x63, 0xc1}, reg_reg, 8, 4, true},
    {"movsxd ax, cx", {0x66, 0x63, 0xc1}, reg_reg, 2, 2, true},
    {"lea rax, [rcx+rdx*4]", {0x48, 0x8d, 0x04, 0x91}, reg_mem, 8, 8, true},
    {"bswap ecx", {0x0f, 0xc9}, reg, 4, 0, true},
    {"cmovz eax, ecx", {0x0f, 0x44, 0xc1}, reg_reg, 4, 4, true},
    {"setz [rcx]", {0x0f, 0x94, 0x01}, mem, 1, 0, true},
    {"push rbx", {0x53}, source, 8},
    {"push 5", {0x6a, 0x05}, imm, 8},
    {"pop rbx", {0x5b}, reg, 8, 0, true},
    {"jz +2", {0x74, 0x02}, target},
    {"call +2", {0xe8, 0x02, 0x00, 0x00, 0x00}, target},
    {"jmp rcx", {0xff, 0xe1}, source, 8},
    {"call [rcx]", {0xff, 0x11}, mem, 8},
    {"ret", {0xc3}, none},
    {"ret 8", {0xc2, 0x08, 0x00}, imm},
    {"cpuid", {0x0f, 0xa2}, other},
    {"xchg rax, rbx", {0x48, 0x93}, reg_reg, 8, 8, true},
    {"xchg ebx, [rcx]", {0x87, 0x19}, mem_reg, 4, 4, true},
    {"movaps xmm1, xmm2", {0x0f, 0x28, 0xca}, xmm_xmm, 16, 16, true},
    {"addsd xmm0, [rcx]", {0xf2, 0x0f, 0x58, 0x01}, xmm_mem, 16, 8, true},
    {"movss [rcx], xmm0", {0xf3, 0x0f, 0x11, 0x01}, mem_xmm, 4, 16, true},
    {"cvtsi2sd xmm0, rax", {0xf2, 0x48, 0x0f, 0x2a, 0xc0}, xmm_reg, 16, 8, true},
    {"cvttsd2si eax, [rcx]", {0xf2, 0x0f, 0x2c, 0x01}, reg_mem, 4, 8, true},
    {"movq rax, xmm1", {0x66, 0x48, 0x0f, 0x7e, 0xc8}, reg_xmm, 8, 16, true},
    {"psllq xmm1, 5", {0x66, 0x0f, 0x73, 0xf1, 0x05}, xmm_imm, 16, 1, true},
    {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, other},
};

TEST(Form, SaysWhereTheOperandsAre) {
  for (const Expected& e : expected) {
    SCOPED_TRACE(e.text);
    Op op;
    const Form form = decode(e.code, CodeMode::bits64, 0, op).form;
    EXPECT_EQ(form.operands, e.operands);
    EXPECT_EQ(form.bytes, e.bytes);
    EXPECT_EQ(form.source_bytes, e.source_bytes);
    EXPECT_EQ(form.writes, e.writes);
    EXPECT_EQ(form.locked, e.locked);
  }
}

/// One instruction and what leaves behind it, run by the checked engine.
class Checked : public testing::Test {
 protected:
  void load(std::vector<u8> code) {
    code.resize(16, 0x90);
    Op op, end;
    const Decoded d = decode(code, CodeMode::bits64, 0, op);
    end.handler = [](Cpu& cpu, const Op* at) { return leave_after(cpu, at); };
    block_.ops = {op, end};
    block_.forms = {d.form, Form{}};
    block_.count = 1;
  }
  Form& form() { return block_.forms[0]; }
  /// The operation does something else than its form says.
  void do_instead(Handler handler) { block_.ops[0].handler = handler; }
  void run() {
    engine_.take(block_);
    cpu_->code64 = true;
    cpu_->block = &block_;
    engine_.run(*cpu_, block_.ops.data());
  }
  std::unique_ptr<Cpu> cpu_ = std::make_unique<Cpu>();

 private:
  Block block_;
  CheckedEngine engine_;
};
using CheckedDeathTest = Checked;

TEST_F(Checked, RunsOperationsToTheOneThatLeaves) {
  load({0x48, 0x01, 0xd8});  // add rax, rbx
  cpu_->gpr[arch::rax] = 40;
  cpu_->gpr[arch::rbx] = 2;
  run();
  EXPECT_EQ(cpu_->gpr[arch::rax], 42u);
  EXPECT_EQ(cpu_->leave, Leave::jump);
}

TEST_F(CheckedDeathTest, AResultThatTheFormDoesNotName) {
  load({0x48, 0x01, 0xd8});  // add rax, rbx
  cpu_->gpr[arch::rbx] = 2;
  form().writes = false;
  EXPECT_DEATH(run(), "cloister: add at 0 of its block changed register 0");
}

TEST_F(CheckedDeathTest, AWiderResultThanTheFormSays) {
  load({0x48, 0x89, 0xd8});  // mov rax, rbx
  cpu_->gpr[arch::rbx] = 0x1'0000;
  form().bytes = 2;
  EXPECT_DEATH(run(), "cloister: mov at 0 of its block changed register 0");
}

TEST_F(CheckedDeathTest, AFaultAfterAChange) {
  load({0x48, 0x89, 0xd8});  // mov rax, rbx
  do_instead([](Cpu& cpu, const Op* op) {
    cpu.gpr[arch::rax] = 1;
    return raise_ud(cpu, op);
  });
  EXPECT_DEATH(run(), "faulted after it had changed register 0");
}

TEST_F(CheckedDeathTest, AChangeOfTheRegisterThatIsZero) {
  load({0x0f, 0xa2});  // cpuid, of which nothing else is said
  do_instead([](Cpu& cpu, const Op* op) {
    cpu.gpr[reg_zero] = 1;
    return leave_after(cpu, op);
  });
  EXPECT_DEATH(run(), "changed the register that is zero");
}

TEST_F(CheckedDeathTest, ALongRegisterThatKeepsItsUpperHalf) {
  load({0x48, 0x89, 0xd8});  // mov rax, rbx
  cpu_->gpr[arch::rbx] = u64{1} << 32;
  form().bytes = 4;
  EXPECT_DEATH(run(), "left the upper half of a register of 32 bits");
}

}  // namespace
}  // namespace cloister::silicon
