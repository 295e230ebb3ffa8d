// Where the host may differ from the manual, the manual decides: each case that exemptions.cpp leaves out because of
// a vendor, with the result that Intel's pages ask for.
#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>

#include "oracle/cpu/software.hpp"

namespace cloister::oracle {
namespace {

using arch::Gpr;
constexpr u64 operand = sandbox::data + 0x100;

class ManualTest : public testing::Test {
 protected:
  ManualTest() {
    const auto gdt = descriptor_table();
    put(sandbox::tables, gdt);
    state.rip = sandbox::instruction;
    state.rflags = arch::rflags::fixed1 | arch::rflags::if_;
    state.seg = {selector::data, selector::code64, selector::data, selector::data, 0, selector::data};
    state.gpr[Gpr::rsp] = sandbox::data + 0x800;
    state.gpr[Gpr::rax] = operand;
    state.fpu.valid = 0xff;
  }

  template <class T>
  void put(u64 linear, const T& value) {
    std::memcpy(&software.memory()[linear - sandbox::base], &value, sizeof value);
  }
  template <class T>
  T get(u64 linear) {
    T value;
    std::memcpy(&value, &software.memory()[linear - sandbox::base], sizeof value);
    return value;
  }
  void put_far(u64 offset, u16 selector) {
    put(operand, offset);
    put(operand + 8, selector);
  }
  Outcome run(std::initializer_list<u8> code, bool bits64 = true) {
    std::memcpy(&software.memory()[state.rip - sandbox::base], code.begin(), code.size());
    if (!bits64) state.seg[arch::seg_cs] = selector::code32;
    return software.run(state, bits64);
  }

  Software software;
  State state;
};

constexpr u64 high_target = 0x0000'7abc'1234'5678;

TEST_F(ManualTest, JmpFarTakesA64BitOffsetWithRexW) {  // vol. 2A, JMP: REX.W FF /5, m16:64
  put_far(high_target, selector::code64);
  const Outcome o = run({0x48, 0xff, 0x28});
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.rip, high_target);
  EXPECT_EQ(o.state.seg[arch::seg_cs], selector::code64);
}

TEST_F(ManualTest, CallFarPushes64BitsWithRexW) {  // vol. 2A, CALL: REX.W FF /3, m16:64
  put_far(high_target, selector::code64);
  const Outcome o = run({0x48, 0xff, 0x18});
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.rip, high_target);
  EXPECT_EQ(o.state.gpr[Gpr::rsp], state.gpr[Gpr::rsp] - 16);
  EXPECT_EQ(get<u64>(o.state.gpr[Gpr::rsp]), sandbox::instruction + 3);
  EXPECT_EQ(get<u64>(o.state.gpr[Gpr::rsp] + 8), selector::code64);
}

TEST_F(ManualTest, FarPointersToRegistersAre64BitsWithRexW) {  // vol. 2A, LDS/LES/LFS/LGS/LSS
  for (const u8 opcode : {0xb2, 0xb4, 0xb5}) {
    put_far(high_target, selector::data);
    const Outcome o = run({0x48, 0x0f, opcode, 0x08});
    EXPECT_FALSE(o.vector);
    EXPECT_EQ(o.state.gpr[Gpr::rcx], high_target);
  }
}

TEST_F(ManualTest, LfsLoadsRegisterAndSelector) {  // vol. 2A, LFS
  put(operand, u32{0x1234'5678});
  put(operand + 4, selector::data);
  for (const bool bits64 : {true, false}) {
    state.gpr[Gpr::rcx] = ~u64{0};
    const Outcome o = run({0x0f, 0xb4, 0x08}, bits64);
    EXPECT_FALSE(o.vector);
    EXPECT_EQ(o.state.gpr[Gpr::rcx], 0x1234'5678u);
    EXPECT_EQ(o.state.seg[arch::seg_fs], selector::data);
  }
}

TEST_F(ManualTest, FsBaseIsReadAndWritten) {  // vol. 2B, RDFSBASE; vol. 2C, WRFSBASE
  state.gpr[Gpr::rcx] = high_target;
  EXPECT_FALSE(run({0xf3, 0x48, 0x0f, 0xae, 0xd1}).vector);  // wrfsbase rcx
  EXPECT_EQ(software.cpu().seg[arch::seg_fs].base, high_target);
  EXPECT_EQ(run({0xf3, 0x48, 0x0f, 0xae, 0xc1}).state.gpr[Gpr::rcx], 0u);  // rdfsbase rcx: every run starts with 0
  state.gpr[Gpr::rcx] = 0x0001'0000'0000'0000;
  EXPECT_EQ(run({0xf3, 0x48, 0x0f, 0xae, 0xd1}).vector, arch::vector::gp);  // not canonical
  EXPECT_EQ(run({0xf3, 0x0f, 0xae, 0xd1}, false).vector, arch::vector::ud);
}

TEST_F(ManualTest, CmpxchgWritesTheUnequalDestinationBack) {  // vol. 2A, CMPXCHG
  state.gpr[Gpr::rbx] = 0xffff'ffff'0000'0001;
  const Outcome o = run({0x0f, 0xb1, 0xcb});  // cmpxchg ebx, ecx
  EXPECT_EQ(o.state.gpr[Gpr::rbx], 1u);
  EXPECT_EQ(o.state.gpr[Gpr::rax], 1u);
}

TEST_F(ManualTest, OperandSizePrefixOnNearBranchesIsIgnored) {  // vol. 2A, CALL and JMP: f64
  const Outcome o = run({0x66, 0xe9, 0x00, 0x01, 0x00, 0x00});
  EXPECT_EQ(o.state.rip, sandbox::instruction + 6 + 0x100);
}

TEST_F(ManualTest, ShaNeedsAnAlignedOperand) {  // vol. 2, table 2-21 (type 4)
  state.gpr[Gpr::rax] = operand + 1;
  EXPECT_EQ(run({0x0f, 0x38, 0xc9, 0x00}).vector, arch::vector::gp);  // sha1msg1 xmm0, [rax]
}

TEST_F(ManualTest, SysretIsUndefinedInCompatibilityMode) {  // vol. 2B, SYSRET
  EXPECT_EQ(run({0x0f, 0x07}, false).vector, arch::vector::ud);
}

TEST_F(ManualTest, FcomiLeavesFlagsAfterAnUnmaskedInvalidOperation) {  // vol. 2A, FCOMI
  state.fpu.control = 0x37e;
  state.fpu.st[0] = {u64{3} << 62, 0x7fff, {}};
  state.rflags |= arch::rflags::of | arch::rflags::sf | arch::rflags::cf;
  const Outcome o = run({0xdb, 0xf1});
  EXPECT_EQ(o.state.rflags & arch::rflags::status, arch::rflags::cf);
}

TEST_F(ManualTest, ComparisonLeavesConditionCodesAfterAnUnmaskedInvalidOperation) {  // vol. 2A, FCOM
  state.fpu.control = 0x37e;
  state.fpu.st[0] = {u64{3} << 62, 0x7fff, {}};
  state.fpu.status = 1u << 14;
  EXPECT_EQ(run({0xd8, 0xd1}).state.fpu.status & 0x4500, 1u << 14);
}

TEST_F(ManualTest, UnmaskedDenormalLoadLeavesTheStackAlone) {  // vol. 1, 8.5.2
  state.fpu.control = 0x37d;
  state.fpu.valid = 0;
  put(operand, u32{1});
  const Outcome o = run({0xd9, 0x00});
  EXPECT_EQ(o.state.fpu.valid, 0);
  EXPECT_EQ(o.state.fpu.top(), 0u);
  EXPECT_EQ(o.state.fpu.status & 0x82, 0x82);
}

TEST_F(ManualTest, Cvtpi2psFromMemoryIsATransition) {  // vol. 2A, CVTPI2PS
  state.fpu.status = 3u << 11;
  state.fpu.valid = 0;
  EXPECT_EQ(run({0x0f, 0x2a, 0x00}).state.fpu.top(), 0u);
  EXPECT_EQ(run({0x0f, 0x2a, 0x00}).state.fpu.valid, 0xff);
  state.fpu.status = 0x8081;
  state.fpu.control = 0x37e;
  EXPECT_EQ(run({0x0f, 0x2a, 0x00}).vector, arch::vector::mf);
}

TEST_F(ManualTest, FaultingMmxInstructionLeavesTheX87Stack) {  // vol. 3A, 6.5: a fault changes nothing
  state.fpu.status = 3u << 11;
  state.fpu.valid = 0x55;
  state.gpr[Gpr::rax] = 0x1000;
  const Outcome o = run({0x0f, 0xfc, 0x00});  // paddb mm0, [rax]
  EXPECT_EQ(o.vector, arch::vector::pf);
  EXPECT_EQ(o.state.fpu.top(), 3u);
  EXPECT_EQ(o.state.fpu.valid, 0x55);
}

TEST_F(ManualTest, RandomNumbersSetCarryAndNothingElse) {  // vol. 2B, RDRAND and RDSEED
  for (const u8 modrm : {0xf1, 0xf9}) {                    // rdrand ecx, rdseed ecx
    state.rflags |= arch::rflags::status;
    state.gpr[Gpr::rcx] = ~u64{0};
    const Outcome a = run({0x0f, 0xc7, modrm, 0x90}), b = run({0x0f, 0xc7, modrm, 0x90});
    EXPECT_EQ(a.state.rflags & arch::rflags::status, arch::rflags::cf);
    EXPECT_EQ(a.state.gpr[Gpr::rcx] >> 32, 0u);
    EXPECT_NE(a.state.gpr[Gpr::rcx], b.state.gpr[Gpr::rcx]);
    const Outcome narrow = run({0x66, 0x0f, 0xc7, modrm});
    EXPECT_EQ(narrow.state.gpr[Gpr::rcx] >> 16, ~u64{0} >> 16);
    const Outcome wide = run({0x48, 0x0f, 0xc7, modrm}), wider = run({0x48, 0x0f, 0xc7, modrm});
    EXPECT_NE((wide.state.gpr[Gpr::rcx] | wider.state.gpr[Gpr::rcx]) >> 32, 0u);
  }
}

TEST_F(ManualTest, RdpidReadsTscAux) {  // vol. 2B, RDPID
  software.cpu().tsc_aux = 0x8123'4567;
  state.gpr[Gpr::rcx] = ~u64{0};
  EXPECT_EQ(run({0xf3, 0x0f, 0xc7, 0xf9}).state.gpr[Gpr::rcx], 0x8123'4567u);
}

}  // namespace
}  // namespace cloister::oracle
