// Who may use the FPU: CR0.EM, CR0.TS, CR0.MP and CR4 (SDM vol. 3A, 2.5 and tables 2-2 and 13-1).
#include <gtest/gtest.h>

#include "unit/silicon/fpu_machine.hpp"

namespace cloister::silicon {
namespace {

namespace cr0 = arch::cr0;
namespace vector = arch::vector;

TEST(FpuGates, SseNeedsOsfxsrAndNoEmulation) {
  FpuMachine m;
  EXPECT_EQ(m.run({0x0f, 0x58, 0xc1}), -1);  // addps xmm0, xmm1
  m.set_control(0, 0, arch::cr4::osfxsr);
  EXPECT_EQ(m.run({0x0f, 0x58, 0xc1}), vector::ud);
  EXPECT_EQ(m.run({0x66, 0x0f, 0xef, 0xc1}), vector::ud);  // pxor xmm0, xmm1

  FpuMachine emulating;
  emulating.set_control(cr0::em | cr0::ts, 0);
  EXPECT_EQ(emulating.run({0x0f, 0x58, 0xc1}), vector::ud) << "#UD comes before #NM";
}

TEST(FpuGates, TaskSwitchedRaisesNm) {
  FpuMachine m;
  m.set_control(cr0::ts, cr0::mp);
  EXPECT_EQ(m.run({0x0f, 0x58, 0xc1}), vector::nm);
  EXPECT_EQ(m.run({0xd9, 0xe8}), vector::nm);        // fld1
  EXPECT_EQ(m.run({0xdf, 0xe0}), vector::nm);        // fnstsw ax
  EXPECT_EQ(m.run({0x0f, 0xfc, 0xc1}), vector::nm);  // paddb mm0, mm1
  EXPECT_EQ(m.run({0x0f, 0xae, 0x00}), vector::nm);  // fxsave [rax]
  EXPECT_EQ(m.run({0x0f, 0xae, 0x20}), vector::nm);  // xsave [rax]
  EXPECT_EQ(m.run({0x9b}), -1) << "FWAIT looks at TS only if MP is set";
  m.set_control(cr0::mp, 0);
  EXPECT_EQ(m.run({0x9b}), vector::nm);
}

TEST(FpuGates, EmulationIsNmForX87AndUdForMmx) {
  FpuMachine m;
  m.set_control(cr0::em, 0);
  EXPECT_EQ(m.run({0xd9, 0xe8}), vector::nm);
  EXPECT_EQ(m.run({0x0f, 0xfc, 0xc1}), vector::ud);
  EXPECT_EQ(m.run({0x0f, 0x77}), vector::ud);  // emms
  EXPECT_EQ(m.run({0x9b}), -1);
}

TEST(FpuGates, NothingChangesWhenBlocked) {
  FpuMachine m;
  m.set_xmm<u64>(0, {1, 2});
  m.set_control(cr0::ts, 0);
  EXPECT_EQ(m.run({0x0f, 0x57, 0xc0}), vector::nm);  // xorps xmm0, xmm0
  EXPECT_EQ(m.xmm<u64>(0), (std::array<u64, 2>{1, 2}));
}

TEST(FpuGates, AlignmentOfSixteenByteOperands) {
  FpuMachine m;
  m.cpu().gpr[arch::rax] = FpuMachine::data + 8;
  EXPECT_EQ(m.run({0x0f, 0x58, 0x00}), vector::gp);        // addps xmm0, [rax]
  EXPECT_EQ(m.run({0x0f, 0x28, 0x00}), vector::gp);        // movaps xmm0, [rax]
  EXPECT_EQ(m.run({0x66, 0x0f, 0xe7, 0x00}), vector::gp);  // movntdq [rax], xmm0
  EXPECT_EQ(m.run({0x0f, 0x10, 0x00}), -1);                // movups xmm0, [rax]
  EXPECT_EQ(m.run({0xf2, 0x0f, 0xf0, 0x00}), -1);          // lddqu xmm0, [rax]
  EXPECT_EQ(m.run({0x66, 0x0f, 0x3a, 0x63, 0x00, 0}), -1) << "PCMPISTRI takes any address (SDM vol. 2B)";
}

TEST(FpuGates, VexEncodingsAreUndefined) {
  FpuMachine m;
  EXPECT_EQ(m.run({0xc5, 0xf8, 0x58, 0xc1}), vector::ud);  // vaddps xmm0, xmm0, xmm1
  EXPECT_EQ(m.run({0xc5, 0xf9, 0x6f, 0xc1}), vector::ud);  // vmovdqa xmm0, xmm1
}

}  // namespace
}  // namespace cloister::silicon
