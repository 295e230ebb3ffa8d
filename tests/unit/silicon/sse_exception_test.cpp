// SSE floating-point exceptions (SDM vol. 1, 11.5) and what our estimates promise (vol. 2, RCPPS, RSQRTPS).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "unit/silicon/fpu_machine.hpp"

namespace cloister::silicon {
namespace {

namespace vector = arch::vector;

u32 unmasking(u32 flags) { return mxcsr::initial & ~(flags << 7); }

TEST(SseException, FlagsAreStickyWhileMasked) {
  FpuMachine m;
  m.set_xmm<double>(0, {1, 0});
  m.set_xmm<double>(1, {3, 0});
  EXPECT_EQ(m.run({0xf2, 0x0f, 0x5e, 0xc1}), -1);  // divsd xmm0, xmm1
  EXPECT_EQ(m.fpu().mxcsr, mxcsr::initial | mxcsr::pe);
  EXPECT_EQ(m.run({0x0f, 0xae, 0x18}), -1);  // stmxcsr [rax]
  EXPECT_EQ(m.read<u32>(FpuMachine::data), mxcsr::initial | mxcsr::pe);
}

TEST(SseException, RoundingControlIsTheGuests) {
  FpuMachine m;
  set_guest_mxcsr(m.cpu(), mxcsr::initial | (2u << 13));  // towards plus infinity
  m.set_xmm<double>(0, {1, 0});
  m.set_xmm<double>(1, {1e-30, 0});
  EXPECT_EQ(m.run({0xf2, 0x0f, 0x58, 0xc1}), -1);  // addsd xmm0, xmm1
  EXPECT_EQ(m.xmm<double>(0)[0], std::nextafter(1.0, 2.0));
}

TEST(SseException, UnmaskedRaisesXmAndKeepsTheDestination) {
  FpuMachine m;
  set_guest_mxcsr(m.cpu(), unmasking(mxcsr::ze));
  m.set_xmm<double>(0, {1, 7});
  m.set_xmm<double>(1, {0, 0});
  EXPECT_EQ(m.run({0xf2, 0x0f, 0x5e, 0xc1}), vector::xm);
  EXPECT_EQ(m.xmm<double>(0), (std::array<double, 2>{1, 7}));
  EXPECT_EQ(m.fpu().mxcsr, unmasking(mxcsr::ze) | mxcsr::ze);
}

TEST(SseException, WithoutOsxmmexcptItIsUd) {
  FpuMachine m;
  m.set_control(0, 0, arch::cr4::osxmmexcpt);
  set_guest_mxcsr(m.cpu(), unmasking(mxcsr::ze));
  m.set_xmm<double>(0, {1, 0});
  EXPECT_EQ(m.run({0xf2, 0x0f, 0x5e, 0xc1}), vector::ud);
}

TEST(SseException, PreComputationExceptionHidesTheOthers) {
  // Element 0 divides by zero, element 1 is inexact (11.5.2 and 11.5.3).
  const std::array<float, 4> dividend{1, 1, 4, 4}, divisor{0, 3, 2, 2};
  FpuMachine masked;
  masked.set_xmm(0, dividend);
  masked.set_xmm(1, divisor);
  EXPECT_EQ(masked.run({0x0f, 0x5e, 0xc1}), -1);  // divps xmm0, xmm1
  EXPECT_EQ(masked.fpu().mxcsr & mxcsr::flags, mxcsr::ze | mxcsr::pe);

  FpuMachine unmasked;
  set_guest_mxcsr(unmasked.cpu(), unmasking(mxcsr::ze));
  unmasked.set_xmm(0, dividend);
  unmasked.set_xmm(1, divisor);
  EXPECT_EQ(unmasked.run({0x0f, 0x5e, 0xc1}), vector::xm);
  EXPECT_EQ(unmasked.fpu().mxcsr & mxcsr::flags, mxcsr::ze);
}

TEST(SseException, AnExactTinyResultUnderflowsOnlyIfUnmasked) {
  // 4.9.1.5: the smallest normal number halved is exact.
  const double smallest = std::numeric_limits<double>::min();
  for (const bool unmask : {false, true}) {
    FpuMachine m;
    if (unmask) set_guest_mxcsr(m.cpu(), unmasking(mxcsr::ue));
    m.set_xmm<double>(0, {smallest, 0});
    m.set_xmm<double>(1, {0.5, 0});
    EXPECT_EQ(m.run({0xf2, 0x0f, 0x59, 0xc1}), unmask ? vector::xm : -1);  // mulsd xmm0, xmm1
    EXPECT_EQ(m.fpu().mxcsr & mxcsr::flags, unmask ? mxcsr::ue : 0);
    EXPECT_EQ(m.xmm<double>(0)[0], unmask ? smallest : smallest / 2);
  }
}

TEST(SseException, AnExactOverflowIsNotInexactIfUnmasked) {
  FpuMachine m;
  set_guest_mxcsr(m.cpu(), unmasking(mxcsr::oe));
  m.set_xmm<float>(0, {0x1p100f, 0, 0, 0});
  m.set_xmm<float>(1, {0x1p100f, 0, 0, 0});
  EXPECT_EQ(m.run({0xf3, 0x0f, 0x59, 0xc1}), vector::xm);  // mulss xmm0, xmm1
  EXPECT_EQ(m.fpu().mxcsr & mxcsr::flags, mxcsr::oe);
}

TEST(SseException, AComparisonKeepsRflagsIfItFaults) {
  FpuMachine m;
  set_guest_mxcsr(m.cpu(), unmasking(mxcsr::ie));
  m.cpu().flags.set(arch::rflags::cf);
  m.set_xmm<double>(0, {std::numeric_limits<double>::quiet_NaN(), 0});
  EXPECT_EQ(m.run({0x66, 0x0f, 0x2f, 0xc1}), vector::xm);  // comisd: invalid for any NaN
  EXPECT_EQ(m.cpu().flags.get(), arch::rflags::cf);
  EXPECT_EQ(m.run({0x66, 0x0f, 0x2e, 0xc1}), -1);  // ucomisd: not for a quiet one
  EXPECT_EQ(m.cpu().flags.get(), arch::rflags::cf | arch::rflags::zf | arch::rflags::pf);
}

TEST(SseException, ReservedBitsOfMxcsrRaiseGp) {
  FpuMachine m;
  m.write<u32>(FpuMachine::data, 0x1'0000);
  EXPECT_EQ(m.run({0x0f, 0xae, 0x10}), vector::gp);  // ldmxcsr [rax]
  EXPECT_EQ(m.fpu().mxcsr, mxcsr::initial);
}

TEST(SseEstimate, ErrorBoundOverAllExponents) {
  constexpr double bound = 1.5 / 4096;
  for (unsigned exponent = 1; exponent < 255; ++exponent) {
    for (const u32 fraction : {0u, 1u, 0x12345u, 0x400000u, 0x5a5a5au, 0x7fffffu}) {
      const u32 bits = (exponent << 23) | fraction;
      float x;
      std::memcpy(&x, &bits, 4);
      FpuMachine m;
      m.set_xmm<float>(1, {x, 0, 0, 0});
      ASSERT_EQ(m.run({0xf3, 0x0f, 0x53, 0xc1}), -1);  // rcpss xmm0, xmm1
      const double reciprocal = 1.0 / x;
      if (exponent < 253) {
        EXPECT_LE(std::abs(m.xmm<float>(0)[0] - reciprocal), bound * reciprocal) << x;
      } else {
        EXPECT_EQ(m.xmm<u32>(0)[0], 0u) << x;
      }
      ASSERT_EQ(m.run({0xf3, 0x0f, 0x52, 0xc1}), -1);  // rsqrtss xmm0, xmm1
      const double root = 1.0 / std::sqrt(static_cast<double>(x));
      EXPECT_LE(std::abs(m.xmm<float>(0)[0] - root), bound * root) << x;
      EXPECT_EQ(m.fpu().mxcsr, mxcsr::initial);
    }
  }
}

TEST(SseEstimate, SpecialValues) {
  struct Case {
    u32 x, reciprocal, root;
  };
  constexpr Case cases[] = {
      {0x0000'0000, 0x7f80'0000, 0x7f80'0000},  // zero: infinity
      {0x8000'0000, 0xff80'0000, 0xff80'0000},
      {0x8000'0001, 0xff80'0000, 0xff80'0000},  // a denormal is a zero
      {0x7f80'0000, 0x0000'0000, 0x0000'0000},  // infinity: zero
      {0xff80'0000, 0x8000'0000, 0xffc0'0000},  // root of a negative number: indefinite
      {0xbf80'0000, 0xbf80'0000, 0xffc0'0000},
      {0x7f80'0001, 0x7fc0'0001, 0x7fc0'0001},  // a signaling NaN becomes quiet
      {0x4080'0000, 0x3e80'0000, 0x3f00'0000},
  };
  for (const Case& c : cases) {
    FpuMachine m;
    m.set_xmm<u32>(1, {c.x, 0, 0, 0});
    EXPECT_EQ(m.run({0xf3, 0x0f, 0x53, 0xc1}), -1);
    EXPECT_EQ(m.xmm<u32>(0)[0], c.reciprocal) << std::hex << c.x;
    EXPECT_EQ(m.run({0xf3, 0x0f, 0x52, 0xc1}), -1);
    EXPECT_EQ(m.xmm<u32>(0)[0], c.root) << std::hex << c.x;
  }
}

}  // namespace
}  // namespace cloister::silicon
