// What VEX-encoded instructions need and leave (SDM vol. 1, 14.1 and 14.3; vol. 2A, 2.3), where the host's CPU cannot
// be asked: gates, the upper halves, XSAVE's AVX component, and what no processor decodes.
#include <gtest/gtest.h>

#include "silicon/decode/decode.hpp"
#include "silicon/isa/vector/xsave.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/host_features.hpp"
#include "unit/silicon/fpu_machine.hpp"

namespace cloister::silicon {
namespace {

namespace vector = arch::vector;
constexpr u64 area = FpuMachine::data, header = area + 512, upper_area = area + 576;
constexpr std::initializer_list<u8> vaddps_ymm = {0xc5, 0xf4, 0x58, 0xc2}, vaddps_xmm = {0xc5, 0xf0, 0x58, 0xc2},
                                    addps = {0x0f, 0x58, 0xc1}, vzeroupper = {0xc5, 0xf8, 0x77},
                                    vzeroall = {0xc5, 0xfc, 0x77}, andn = {0xc4, 0xe2, 0x78, 0xf2, 0xca};

class Avx : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_features().avx) GTEST_SKIP() << "this host has no AVX2";
    set_xcr0(7);
    for (unsigned n = 0; n < 16; ++n) m.fpu().upper[n] = filled(static_cast<u8>(n + 1));
    std::memset(m.at(area), 0, 1024);
  }
  void set_xcr0(u64 value) {
    m.cpu().xcr0 = value;
    update_fpu_blocks(m.cpu());
  }
  static Xmm filled(u8 byte) {
    Xmm x;
    x.byte.fill(byte);
    return x;
  }
  u8 upper(unsigned n) { return m.fpu().upper[n].byte[0]; }
  /// RFBM is in EAX; the area's address in RBX.
  int xsave_family(u8 group, u8 reg, u64 mask) {
    m.cpu().gpr[arch::rbx] = area;
    m.cpu().gpr[arch::rax] = mask;
    m.cpu().gpr[arch::rdx] = 0;
    return m.run({0x0f, group, static_cast<u8>((reg << 3) | 3)});
  }

  FpuMachine m;
};

TEST_F(Avx, NeedsBothComponentsAndOsxsave) {
  EXPECT_EQ(m.run(vaddps_ymm), -1);
  set_xcr0(3);
  EXPECT_EQ(m.run(vaddps_ymm), vector::ud) << "without AVX in XCR0";
  EXPECT_EQ(m.run(vaddps_xmm), vector::ud) << "128 bits, too";
  EXPECT_EQ(m.run(andn), -1) << "general registers do not need it";
  set_xcr0(7);
  m.set_control(0, 0, arch::cr4::osxsave);
  EXPECT_EQ(m.run(vaddps_ymm), vector::ud);
}

TEST_F(Avx, TaskSwitchedIsNotAvailable) {
  m.set_control(arch::cr0::ts, 0, 0);
  EXPECT_EQ(m.run(vaddps_ymm), vector::nm);
  set_xcr0(3);
  EXPECT_EQ(m.run(vaddps_ymm), vector::ud) << "#UD comes first";
}

TEST_F(Avx, NarrowFormsClearTheUpperHalfAndLegacyOnesKeepIt) {
  ASSERT_EQ(m.run(addps), -1);
  EXPECT_EQ(upper(0), 1);
  ASSERT_EQ(m.run(vaddps_xmm), -1);
  EXPECT_EQ(m.fpu().upper[0].byte, Xmm{}.byte);
  EXPECT_EQ(upper(1), 2);
}

TEST_F(Avx, ZeroingLeavesRegistersThatTheModeDoesNotHave) {
  m.set_xmm<u64>(9, {1, 2});
  m.stepper().set_mode(CodeMode::compat32);
  ASSERT_EQ(m.run(vzeroall), -1);
  EXPECT_EQ(upper(7), 0);
  EXPECT_EQ(upper(8), 9);
  EXPECT_EQ(m.xmm<u64>(9), (std::array<u64, 2>{1, 2}));
  m.stepper().set_mode(CodeMode::bits64);
  ASSERT_EQ(m.run(vzeroupper), -1);
  EXPECT_EQ(upper(15), 0);
  EXPECT_EQ(m.xmm<u64>(9), (std::array<u64, 2>{1, 2}));
}

TEST_F(Avx, PrefixesInFrontOfVexAreUndefined) {
  for (const u8 prefix : {0x66, 0xf2, 0xf3, 0xf0, 0x48}) {
    EXPECT_EQ(m.run({prefix, 0xc5, 0xf4, 0x58, 0xc2}), vector::ud) << int{prefix};
  }
  EXPECT_EQ(m.run({0xc5, 0xe8, 0x77}), vector::ud) << "VZEROUPPER with a third register";
  EXPECT_EQ(m.run({0xc4, 0xe2, 0x7d, 0x41, 0xc1}), vector::ud) << "VPHMINPOSUW of 256 bits";
}

TEST_F(Avx, RealAndVirtual8086ModeHaveOnlyLesAndLds) {
  const std::array<u8, 4> bytes{0xc5, 0xf4, 0x58, 0xc2};
  EXPECT_TRUE(form_of(bytes, CodeMode::compat32).known);
  for (const CodeMode mode : {CodeMode::real16, CodeMode::virtual16}) {
    EXPECT_FALSE(form_of(bytes, mode).known);
    const std::array<u8, 3> les{0xc4, 0x07, 0x90};
    EXPECT_EQ(form_of(les, mode).mnemonic, ZYDIS_MNEMONIC_LES);
  }
  const std::array<u8, 4> lds{0xc5, 0x07, 0x90, 0x90};  // lds eax, [edi]
  EXPECT_EQ(form_of(lds, CodeMode::compat32).mnemonic, ZYDIS_MNEMONIC_LDS);
}

TEST_F(Avx, SaveAndRestoreOfTheComponent) {
  ASSERT_EQ(xsave_family(0xae, 4, 4), -1);
  EXPECT_EQ(m.read<u64>(header), 4u);
  EXPECT_EQ(m.read<u8>(upper_area + 16 * 3), 4);
  EXPECT_EQ(m.read<u32>(area + 24), mxcsr::initial) << "MXCSR belongs to AVX, too (13.7)";
  m.fpu().upper.fill({});
  ASSERT_EQ(xsave_family(0xae, 5, 4), -1);
  EXPECT_EQ(upper(3), 4);
  m.write<u64>(header, 0);
  ASSERT_EQ(xsave_family(0xae, 5, 4), -1);
  EXPECT_EQ(upper(3), 0) << "absent: initial";
  m.write<u64>(upper_area, 0x55);
  ASSERT_EQ(xsave_family(0xae, 6, 7), -1);
  EXPECT_EQ(m.read<u64>(upper_area), 0x55u) << "XSAVEOPT does not write what is initial";
  EXPECT_EQ(m.read<u64>(header) & 4, 0u);
}

TEST_F(Avx, CompactedFormAndUse) {
  ASSERT_EQ(xsave_family(0xc7, 4, 5), -1);
  EXPECT_EQ(m.read<u64>(header + 8), (u64{1} << 63) | 5);
  EXPECT_EQ(m.read<u8>(upper_area), 1);
  m.fpu().upper.fill({});
  ASSERT_EQ(xsave_family(0xae, 5, 5), -1);
  EXPECT_EQ(upper(0), 1);
  m.cpu().gpr[arch::rcx] = 1;
  ASSERT_EQ(m.run({0x0f, 0x01, 0xd0}), -1);  // xgetbv
  EXPECT_EQ(m.cpu().gpr[arch::rax] & 4, 4u);
}

TEST_F(Avx, InCompatibilityModeEightRegistersAreSaved) {
  m.stepper().set_mode(CodeMode::compat32);
  m.write<u8>(upper_area + 16 * 8, 0x77);
  ASSERT_EQ(xsave_family(0xae, 4, 4), -1);
  EXPECT_EQ(m.read<u8>(upper_area + 16 * 7), 8);
  EXPECT_EQ(m.read<u8>(upper_area + 16 * 8), 0x77);
  m.write<u64>(header, 0);
  ASSERT_EQ(xsave_family(0xae, 5, 4), -1);
  EXPECT_EQ(upper(7), 0);
  EXPECT_EQ(upper(8), 9);
}

TEST_F(Avx, AGatherThatFaultsKeepsWhatItHas) {
  // vpgatherdd xmm1, [rax + xmm2*1], xmm3
  m.set_xmm<u32>(1, {1, 2, 3, 4});
  m.set_xmm<u32>(2, {0, 4, 0x4000'0000, 8});
  m.set_xmm<u32>(3, {~0u, 0, ~0u, ~0u});
  m.write<u32>(area, 0xaaaa);
  m.cpu().gpr[arch::rax] = area;
  EXPECT_EQ(m.run({0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x10}), vector::pf);
  EXPECT_EQ(m.xmm<u32>(1), (std::array<u32, 4>{0xaaaa, 2, 3, 4}));
  EXPECT_EQ(m.xmm<u32>(3), (std::array<u32, 4>{0, 0, ~0u, ~0u}));
  EXPECT_EQ(m.run({0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x18}), vector::ud) << "index and mask are one register";
}

TEST_F(Avx, AlignmentIsAskedForByTheAlignedMovesAlone) {
  m.cpu().gpr[arch::rax] = area + 16;
  EXPECT_EQ(m.run({0xc5, 0xfc, 0x28, 0x00}), vector::gp) << "vmovaps ymm0, [rax]";
  EXPECT_EQ(m.run({0xc5, 0xfc, 0x10, 0x00}), -1) << "vmovups ymm0, [rax]";
  EXPECT_EQ(m.run({0xc5, 0xf4, 0x58, 0x00}), -1) << "vaddps ymm0, ymm1, [rax]";
}

}  // namespace
}  // namespace cloister::silicon
