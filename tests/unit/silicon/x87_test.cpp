// x87 exceptions and the register stack (SDM vol. 1, 8.1 and 8.5 to 8.7).
#include <gtest/gtest.h>

#include <limits>

#include "unit/silicon/fpu_machine.hpp"

namespace cloister::silicon {
namespace {

namespace vector = arch::vector;

class X87 : public testing::Test {
 protected:
  void push(u64 mantissa, u16 sign_exponent) { x87_push(m.fpu(), {mantissa, sign_exponent}); }
  void push_one() { push(u64{1} << 63, 0x3fff); }
  const Float80& st(unsigned i) { return x87_st(m.fpu(), i); }
  void unmask(u16 flags) { m.fpu().control &= static_cast<u16>(~flags); }

  FpuMachine m;
};

TEST_F(X87, AnUnmaskedExceptionIsRaisedByTheNextWaitingInstruction) {
  unmask(x87::ze);
  push(0, 0);
  push_one();
  ASSERT_EQ(m.run({0xd8, 0xf1}), -1) << "fdiv st0, st1 itself completes";
  EXPECT_EQ(st(0).sign_exponent, 0x3fff) << "divide by zero is found before there is a result";
  EXPECT_EQ(m.fpu().status & (x87::ze | x87::es | x87::busy), x87::ze | x87::es | x87::busy);

  EXPECT_EQ(m.run({0xdf, 0xe0}), -1) << "FNSTSW does not wait";
  EXPECT_EQ(static_cast<u16>(m.cpu().gpr[arch::rax]) & x87::ze, x87::ze);
  EXPECT_EQ(m.run({0xd9, 0xe8}), vector::mf);        // fld1
  EXPECT_EQ(m.run({0x9b}), vector::mf);              // fwait
  EXPECT_EQ(m.run({0xd9, 0xd0}), vector::mf);        // fnop
  EXPECT_EQ(m.run({0x0f, 0xfc, 0xc1}), vector::mf);  // paddb mm0, mm1
  EXPECT_EQ(m.run({0x0f, 0x58, 0xc1}), -1) << "SSE does not care";
  EXPECT_EQ(m.run({0xdb, 0xe2}), -1);  // fnclex
  EXPECT_EQ(m.run({0xd9, 0xe8}), -1);
}

TEST_F(X87, MfComesBeforeAPageFault) {
  m.fpu().status = x87::ie;
  unmask(x87::ie);
  x87_update_summary(m.fpu());
  m.cpu().gpr[arch::rax] = 0x5000'0000;
  EXPECT_EQ(m.run({0xdd, 0x00}), vector::mf);  // fld qword [rax]
}

TEST_F(X87, LoadingTheControlWordCanMakeAnExceptionPending) {
  m.fpu().status = x87::pe;
  m.write<u16>(FpuMachine::data, 0x37f & ~x87::pe);
  EXPECT_EQ(m.run({0xd9, 0x28}), -1);  // fldcw [rax]
  EXPECT_EQ(m.run({0x9b}), vector::mf);
}

TEST_F(X87, StackOverflowAndUnderflowDifferInC1) {
  for (int i = 0; i < 8; ++i) push_one();
  ASSERT_EQ(m.run({0xd9, 0xe8}), -1);  // fld1
  EXPECT_EQ(m.fpu().status & (x87::ie | x87::sf | x87::c1), x87::ie | x87::sf | x87::c1);
  EXPECT_EQ(st(0).mantissa, x87::indefinite.mantissa);

  x87_init(m.fpu());
  ASSERT_EQ(m.run({0xd8, 0xc1}), -1);  // fadd st0, st1
  EXPECT_EQ(m.fpu().status & (x87::ie | x87::sf | x87::c1), x87::ie | x87::sf);
  EXPECT_EQ(st(0).sign_exponent, x87::indefinite.sign_exponent);
}

TEST_F(X87, AnUnmaskedStackFaultChangesNeitherStackNorMemory) {
  unmask(x87::ie);
  m.write<u32>(FpuMachine::data, 0x1234'5678);
  ASSERT_EQ(m.run({0xd9, 0x18}), -1);  // fstp dword [rax]
  EXPECT_EQ(m.read<u32>(FpuMachine::data), 0x1234'5678u);
  EXPECT_EQ(m.fpu().top, 0);
  EXPECT_EQ(m.run({0x9b}), vector::mf);
}

TEST_F(X87, UnmaskedOverflowOfAStoreSuppressesItAndAnInexactOneDoesNot) {
  unmask(x87::oe);
  push(u64{1} << 63, 0x7000);
  m.write<u32>(FpuMachine::data, 1);
  ASSERT_EQ(m.run({0xd9, 0x18}), -1);
  EXPECT_EQ(m.read<u32>(FpuMachine::data), 1u);
  EXPECT_FALSE(x87_empty(m.fpu(), 0)) << "not popped";

  FpuMachine other;
  other.fpu().control &= static_cast<u16>(~x87::pe);
  x87_push(other.fpu(), {0xaaaa'aaaa'aaaa'aaab, 0x3ffd});  // 1/3
  ASSERT_EQ(other.run({0xd9, 0x18}), -1);
  EXPECT_EQ(other.read<u32>(FpuMachine::data), 0x3eaa'aaabu);
  EXPECT_TRUE(x87_empty(other.fpu(), 7)) << "popped";
  EXPECT_EQ(other.run({0x9b}), vector::mf);
}

TEST_F(X87, UnmaskedOverflowInARegisterWrapsTheExponent) {
  unmask(x87::oe);
  push(u64{1} << 63, 0x7000);
  ASSERT_EQ(m.run({0xd8, 0xc8}), -1);  // fmul st0, st0: 2^(2 * 0x3001)
  EXPECT_EQ(st(0).sign_exponent, 0x3fff + 2 * 0x3001 - 24576) << "divided by 2^24576 (8.5.4)";
  EXPECT_EQ(st(0).mantissa, u64{1} << 63);
}

TEST_F(X87, PointersOfTheLastInstructionAndTheLastException) {
  unmask(x87::ie);
  push(0xa000'0000'0000'0000, 0x7fff);  // signaling NaN
  m.cpu().gpr[arch::rax] = FpuMachine::data;
  ASSERT_EQ(m.run({0xd8, 0x40, 0x08}), -1);  // fadd dword [rax + 8]
  EXPECT_EQ(m.fpu().instruction, FpuMachine::code);
  EXPECT_EQ(m.fpu().operand, FpuMachine::data + 8);
  EXPECT_EQ(m.fpu().opcode, 0x040) << "the opcode's low three bits and ModRM (8.1.9)";
}

TEST_F(X87, MmxMakesTheStackFull) {
  m.fpu().top = 5;
  ASSERT_EQ(m.run({0x48, 0x0f, 0x6e, 0xd0}), -1);  // movq mm2, rax
  EXPECT_EQ(m.fpu().top, 0);
  EXPECT_EQ(m.fpu().valid, 0xff);
  EXPECT_EQ(m.fpu().st[2].mantissa, FpuMachine::data);
  EXPECT_EQ(m.fpu().st[2].sign_exponent, 0xffff);
  ASSERT_EQ(m.run({0x0f, 0x77}), -1);  // emms
  EXPECT_EQ(m.fpu().valid, 0);
}

TEST_F(X87, TheProcessorsPiHas66Bits) {
  // 8.3.8: FLDPI rounds to 64 bits, 2^-64 above the pi that FSIN reduces with.
  ASSERT_EQ(m.run({0xd9, 0xeb}), -1);  // fldpi
  ASSERT_EQ(m.run({0xd9, 0xfe}), -1);  // fsin
  EXPECT_EQ(st(0).sign_exponent, 0x8000 | (0x3fff - 64));
  EXPECT_EQ(st(0).mantissa, u64{1} << 63);
}

TEST_F(X87, TrigonometryBeyondItsRangeSetsC2) {
  push(u64{1} << 63, 0x3fff + 63);
  ASSERT_EQ(m.run({0xd9, 0xfe}), -1);
  EXPECT_NE(m.fpu().status & x87::c2, 0);
  EXPECT_EQ(st(0).sign_exponent, 0x3fff + 63);
  x87_pop(m.fpu());
  push(~u64{0}, 0x3fff + 62);
  ASSERT_EQ(m.run({0xd9, 0xfe}), -1);
  EXPECT_EQ(m.fpu().status & x87::c2, 0);
}

TEST_F(X87, LogarithmsOfPowersAreExact) {
  push(0xc000'0000'0000'0000, 0x4000);  // 3
  push(u64{1} << 63, 0x3fff + 5);       // 2^5
  ASSERT_EQ(m.run({0xd9, 0xf1}), -1);   // fyl2x
  EXPECT_EQ(st(0).mantissa, 0xf000'0000'0000'0000);
  EXPECT_EQ(st(0).sign_exponent, 0x4002);
  EXPECT_EQ(m.fpu().status & x87::pe, 0);

  push_one();
  push(0, 0);
  ASSERT_EQ(m.run({0xd9, 0xf1}), -1);
  EXPECT_EQ(m.fpu().status & x87::ze, x87::ze) << "the logarithm of zero divides by zero";
  EXPECT_EQ(st(0).sign_exponent, 0xffff);
}

TEST_F(X87, RemaindersTooLongAreLeftPartial) {
  push(0xc000'0000'0000'0000, 0x4000);  // 3
  push(u64{1} << 63, 0x3fff + 200);     // 2^200
  unsigned steps = 1;
  for (; steps < 10; ++steps) {
    ASSERT_EQ(m.run({0xd9, 0xf8}), -1);  // fprem
    if ((m.fpu().status & x87::c2) == 0) break;
  }
  EXPECT_GT(steps, 1u);
  EXPECT_EQ(st(0).mantissa, u64{1} << 63);
  EXPECT_EQ(st(0).sign_exponent, 0x3fff) << "2^200 mod 3 = 1";
}

TEST_F(X87, EnvironmentImages) {
  push_one();
  m.fpu().status |= x87::c3;
  ASSERT_EQ(m.run({0xd9, 0x30}), -1);  // fnstenv [rax], 28 bytes
  EXPECT_EQ(m.read<u16>(FpuMachine::data), 0x37f);
  EXPECT_EQ(m.read<u16>(FpuMachine::data + 4), x87::c3 | (7 << 11));
  EXPECT_EQ(m.read<u16>(FpuMachine::data + 8), 0x3fff) << "R7 valid, the others empty";
  ASSERT_EQ(m.run({0x66, 0xd9, 0x30}), -1);  // 14 bytes
  EXPECT_EQ(m.read<u16>(FpuMachine::data + 2), x87::c3 | (7 << 11));
  EXPECT_EQ(m.read<u16>(FpuMachine::data + 4), 0x3fff);
  EXPECT_EQ(m.fpu().control & x87::flags, x87::flags) << "FNSTENV masks all exceptions";
}

}  // namespace
}  // namespace cloister::silicon
