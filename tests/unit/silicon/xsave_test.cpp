// FXSAVE images (SDM vol. 1, 10.5) and the XSAVE feature set's rules (ch. 13).
#include <gtest/gtest.h>

#include "silicon/isa/vector/fxsave.hpp"
#include "unit/silicon/fpu_machine.hpp"

namespace cloister::silicon {
namespace {

namespace vector = arch::vector;
constexpr u64 area = FpuMachine::data, header = area + 512;

class Xsave : public testing::Test {
 protected:
  Xsave() {
    m.cpu().gpr[arch::rdx] = 0;
    std::memset(m.at(area), 0, 576);
  }
  /// RFBM is in EAX; the area's address in RBX.
  int run(u8 group, u8 reg, u64 mask) {
    m.cpu().gpr[arch::rbx] = area;
    m.cpu().gpr[arch::rax] = mask;
    return m.run({0x0f, group, static_cast<u8>((reg << 3) | 3)});
  }
  int xsave(u64 mask = 3) { return run(0xae, 4, mask); }
  int xrstor(u64 mask = 3) { return run(0xae, 5, mask); }
  int xsaveopt(u64 mask = 3) { return run(0xae, 6, mask); }
  int xsavec(u64 mask = 3) { return run(0xc7, 4, mask); }

  FpuMachine m;
};

TEST_F(Xsave, FxsaveLayouts) {
  FpuState& fpu = m.fpu();
  fpu.opcode = 0x123;
  fpu.instruction = 0x1122'3344'5566'7788;
  fpu.operand = 0x99aa'bbcc'ddee'ff00;
  x87_push(fpu, {0x8000'0000'0000'0001, 0x4001});
  m.set_xmm<u64>(15, {15, 16});
  m.write<u64>(area + 464, 0x5a5a);
  ASSERT_EQ(m.run({0x48, 0x0f, 0xae, 0x00}), -1);  // fxsave64 [rax]
  EXPECT_EQ(m.read<u16>(area), 0x37f);
  EXPECT_EQ(m.read<u16>(area + 2), 7 << 11);
  EXPECT_EQ(m.read<u8>(area + 4), 0x80) << "abridged tag word: R7";
  EXPECT_EQ(m.read<u16>(area + 6), 0x123);
  EXPECT_EQ(m.read<u64>(area + 8), 0x1122'3344'5566'7788);
  EXPECT_EQ(m.read<u64>(area + 16), 0x99aa'bbcc'ddee'ff00);
  EXPECT_EQ(m.read<u32>(area + 24), mxcsr::initial);
  EXPECT_EQ(m.read<u32>(area + 28), 0xffffu);
  EXPECT_EQ(m.read<u64>(area + 32), 0x8000'0000'0000'0001) << "ST(0), not R0";
  EXPECT_EQ(m.read<u16>(area + 40), 0x4001);
  EXPECT_EQ(m.read<u64>(area + 160 + 15 * 16), 15u);
  EXPECT_EQ(m.read<u64>(area + 464), 0x5a5au) << "bytes 511:464 are the software's";

  ASSERT_EQ(m.run({0x0f, 0xae, 0x00}), -1);  // fxsave [rax]
  EXPECT_EQ(m.read<u64>(area + 8), 0x5566'7788u) << "32-bit FIP, FCS deprecated";
}

TEST_F(Xsave, FxsaveInCompatibilityModeLeavesTheUpperRegisters) {
  m.set_xmm<u64>(7, {7, 7});
  m.set_xmm<u64>(8, {8, 8});
  m.write<u64>(area + 160 + 8 * 16, 0x1111);
  m.stepper().set_mode(CodeMode::compat32);
  ASSERT_EQ(m.run({0x0f, 0xae, 0x00}), -1);
  EXPECT_EQ(m.read<u64>(area + 160 + 7 * 16), 7u);
  EXPECT_EQ(m.read<u64>(area + 160 + 8 * 16), 0x1111u);
}

TEST_F(Xsave, FxrstorChecks) {
  ASSERT_EQ(m.run({0x0f, 0xae, 0x00}), -1);
  m.write<u32>(area + 24, 0x1'0000);
  EXPECT_EQ(m.run({0x0f, 0xae, 0x08}), vector::gp) << "reserved bits of MXCSR";
  m.cpu().gpr[arch::rax] = area + 8;
  EXPECT_EQ(m.run({0x0f, 0xae, 0x08}), vector::gp) << "alignment";
  EXPECT_EQ(m.run({0x0f, 0xae, 0x00}), vector::gp);
}

TEST_F(Xsave, TheDoorsImageRoundTrips) {
  x87_push(m.fpu(), {u64{3} << 62, 0xc000});
  m.set_xmm<u64>(3, {33, 34});
  FxsaveImage image;
  write_fxsave(m.cpu(), image);
  FpuMachine other;
  ASSERT_TRUE(read_fxsave(other.cpu(), image));
  EXPECT_EQ(other.fpu().top, 7);
  EXPECT_EQ(x87_st(other.fpu(), 0).sign_exponent, 0xc000);
  EXPECT_EQ(other.xmm<u64>(3), (std::array<u64, 2>{33, 34}));
  image[26] = 1;
  EXPECT_FALSE(read_fxsave(other.cpu(), image)) << "a reserved bit of MXCSR";
}

TEST_F(Xsave, HeaderBitsFollowUseAndRequest) {
  m.set_xmm<u64>(0, {1, 0});
  m.write<u64>(header, 5);  // an old value: bits outside the request stay
  ASSERT_EQ(xsave(2), -1);
  EXPECT_EQ(m.read<u64>(header), 7u);
  m.set_xmm<u64>(0, {0, 0});
  ASSERT_EQ(xsave(2), -1);
  EXPECT_EQ(m.read<u64>(header), 5u) << "SSE is in its initial state (13.7)";
}

TEST_F(Xsave, OptimizedSaveSkipsInitialComponents) {
  m.write<u16>(area, 0x5555);
  m.set_xmm<u64>(0, {1, 0});
  ASSERT_EQ(xsaveopt(), -1);
  EXPECT_EQ(m.read<u64>(header), 2u);
  EXPECT_EQ(m.read<u16>(area), 0x5555) << "x87 is initial";
  ASSERT_EQ(xsave(), -1);
  EXPECT_EQ(m.read<u16>(area), 0x37f) << "XSAVE writes it all the same";
}

TEST_F(Xsave, CompactedSaveSaysWhatItHolds) {
  ASSERT_EQ(xsavec(), -1);
  EXPECT_EQ(m.read<u64>(header), 0u);
  EXPECT_EQ(m.read<u64>(header + 8), (u64{1} << 63) | 3);
  set_guest_mxcsr(m.cpu(), 0x1f00);
  ASSERT_EQ(xsavec(), -1);
  EXPECT_EQ(m.read<u64>(header), 2u) << "MXCSR is not initial (13.10)";
  EXPECT_EQ(m.read<u32>(area + 24), 0x1f00u);
}

TEST_F(Xsave, RestoreInitializesWhatIsAbsent) {
  m.set_xmm<u64>(9, {1, 2});
  x87_push(m.fpu(), {1, 2});
  m.fpu().control = 0x27f;
  set_guest_mxcsr(m.cpu(), 0x1f00);
  m.write<u32>(area + 24, 0x1fa0);
  ASSERT_EQ(xrstor(), -1);  // XSTATE_BV = 0
  EXPECT_EQ(m.fpu().control, 0x37f);
  EXPECT_EQ(m.fpu().valid, 0);
  EXPECT_EQ(m.fpu().st[7].mantissa, 0u);
  EXPECT_EQ(m.xmm<u64>(9), (std::array<u64, 2>{0, 0}));
  EXPECT_EQ(m.fpu().mxcsr, 0x1fa0u) << "the standard form always loads MXCSR (13.8.1)";

  m.write<u64>(header + 8, (u64{1} << 63) | 3);
  ASSERT_EQ(xrstor(), -1);
  EXPECT_EQ(m.fpu().mxcsr, mxcsr::initial) << "the compacted form initializes it (13.8.2)";
}

TEST_F(Xsave, RestoreLeavesWhatIsNotAskedFor) {
  m.set_xmm<u64>(9, {1, 2});
  m.write<u32>(area + 24, 0x1'0000);  // not looked at
  ASSERT_EQ(xrstor(1), -1);
  EXPECT_EQ(m.xmm<u64>(9), (std::array<u64, 2>{1, 2}));
}

TEST_F(Xsave, RestoreChecksTheHeader) {
  struct Case {
    const char* what;
    u64 xstate_bv, xcomp_bv, word2, word3;
    int expected;
  };
  constexpr u64 compacted = u64{1} << 63;
  const Case cases[] = {
      {"a component beyond XCR0", 4, 0, 0, 0, vector::gp},
      {"standard form, bytes 15:8", 0, 1, 0, 0, vector::gp},
      {"standard form, bytes 23:16", 0, 0, 1, 0, vector::gp},
      {"standard form, bytes 63:24 are ignored", 0, 0, 0, 1, -1},
      {"compacted, a component beyond XCR0", 0, compacted | 7, 0, 0, vector::gp},
      {"compacted, present but not laid out", 2, compacted | 1, 0, 0, vector::gp},
      {"compacted, bytes 63:16", 0, compacted | 3, 0, 1, vector::gp},
      {"compacted", 0, compacted | 3, 0, 0, -1},
  };
  for (const Case& c : cases) {
    m.write<u64>(header, c.xstate_bv);
    m.write<u64>(header + 8, c.xcomp_bv);
    m.write<u64>(header + 16, c.word2);
    m.write<u64>(header + 24, c.word3);
    EXPECT_EQ(xrstor(), c.expected) << c.what;
  }
}

TEST_F(Xsave, Faults) {
  m.cpu().gpr[arch::rbx] = area + 32;
  EXPECT_EQ(m.run({0x0f, 0xae, 0x23}), vector::gp) << "64-byte alignment";
  m.write<u32>(area + 24, 0x1'0000);
  EXPECT_EQ(xrstor(2), vector::gp) << "reserved bits of MXCSR";
  EXPECT_EQ(run(0xc7, 5, 3), vector::gp) << "XSAVES at CPL 3";
  m.set_control(0, 0, arch::cr4::osxsave);
  EXPECT_EQ(xsave(), vector::ud);
  EXPECT_EQ(m.run({0x0f, 0x01, 0xd0}), vector::ud);  // xgetbv
}

TEST_F(Xsave, Xgetbv) {
  const auto read = [this](u64 index) {
    m.cpu().gpr[arch::rcx] = index;
    EXPECT_EQ(m.run({0x0f, 0x01, 0xd0}), -1);
    return m.cpu().gpr[arch::rax];
  };
  EXPECT_EQ(read(0), 3u);
  EXPECT_EQ(read(1), 0u) << "everything is initial";
  m.set_xmm<u64>(1, {0, 1});
  EXPECT_EQ(read(1), 2u);
  m.cpu().gpr[arch::rcx] = 2;
  EXPECT_EQ(m.run({0x0f, 0x01, 0xd0}), vector::gp);
}

}  // namespace
}  // namespace cloister::silicon
