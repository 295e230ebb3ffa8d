// Where the host may differ from the manual, the manual decides: each case that exemptions.cpp or vendors.cpp leaves
// out because of a vendor, with the result that Intel's pages ask for, or Intel's processors have.
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

// What other makers' processors end otherwise (vendors.hpp), and such a host says nothing of.

TEST_F(ManualTest, MovsxdTo16BitsReads16Bits) {  // vol. 2B, MOVSXD r16, r/m16
  state.gpr[Gpr::rax] = sandbox::data_end - 2;
  put(sandbox::data_end - 2, u16{0x8123});
  const Outcome o = run({0x66, 0x63, 0x08});
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.gpr[Gpr::rcx] & 0xffff, 0x8123u);
}

TEST_F(ManualTest, PushOfASegmentWrites16Bits) {  // vol. 2B, PUSH: a 32-bit operand size
  const u64 below = state.gpr[Gpr::rsp] - 4;
  put(below, 0xaaaa'aaaau);
  const Outcome o = run({0x1e}, false);
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.gpr[Gpr::rsp], below);
  EXPECT_EQ(get<u32>(below), 0xaaaa'0000u | selector::data);
}

TEST_F(ManualTest, PopOfASegmentReads16Bits) {
  state.gpr[Gpr::rsp] = sandbox::data_end - 2;
  put(sandbox::data_end - 2, selector::data);
  const Outcome o = run({0x0f, 0xa9});
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.gpr[Gpr::rsp], sandbox::data_end + 6);
}

TEST_F(ManualTest, AFaultOfRepneRestoresTheFlags) {  // vol. 2B, REP
  state.gpr[Gpr::rax] = 1;
  state.gpr[Gpr::rcx] = 2;
  state.gpr[Gpr::rdi] = sandbox::data_end - 1;
  put(sandbox::data_end - 1, u8{2});  // 1 - 2 would set CF
  const Outcome o = run({0xf2, 0xae});
  EXPECT_EQ(o.vector, arch::vector::pf);
  EXPECT_EQ(o.state.gpr[Gpr::rcx], 1u);
  EXPECT_EQ(o.state.rflags & arch::rflags::status, 0u);
}

TEST_F(ManualTest, AnX87StoreThatIsForbiddenAccessesNoMemory) {  // vol. 1, 8.5.1
  state.gpr[Gpr::rax] = sandbox::data_end;
  state.fpu.valid = 0;
  state.fpu.control = 0x37e;  // invalid operation is unmasked
  const Outcome o = run({0xdb, 0x10});
  EXPECT_FALSE(o.vector);
  EXPECT_EQ(o.state.fpu.status & 0x80c1, 0x80c1);
}

TEST_F(ManualTest, IretChecksCsBeforeItReadsTheStackPointer) {  // vol. 2A, IRET
  const u64 at = state.gpr[Gpr::rsp] = sandbox::data_end - 24;
  put(at, sandbox::instruction);
  put(at + 8, u64{selector::data});
  put(at + 16, arch::rflags::fixed1);
  const Outcome o = run({0x48, 0xcf});
  EXPECT_EQ(o.vector, arch::vector::gp);
  EXPECT_EQ(o.error, selector::data & ~3u);
}

TEST_F(ManualTest, XsaveThroughSsIsFirstCanonical) {  // vol. 2C, XSAVE: #SS(0)
  state.gpr[Gpr::rbp] = 0x1234'5678'9abc'def1;
  const Outcome o = run({0x0f, 0xae, 0x65, 0x00});
  EXPECT_EQ(o.vector, arch::vector::ss);
}

TEST_F(ManualTest, BoundBelowTheLowerBoundReadsNoUpperOne) {
  state.gpr[Gpr::rax] = sandbox::data_end - 4;
  state.gpr[Gpr::rcx] = 0;
  put(sandbox::data_end - 4, u32{1});
  EXPECT_EQ(run({0x62, 0x08}, false).vector, arch::vector::br);
}

TEST_F(ManualTest, AFarReturnTo32BitCodeTakesTheLowerHalf) {
  put(state.gpr[Gpr::rsp], (u64{0x7fff} << 32) | (sandbox::instruction + 8));
  put(state.gpr[Gpr::rsp] + 8, u64{selector::code32});
  const Outcome o = run({0x48, 0xcb});
  EXPECT_EQ(o.state.rip, sandbox::instruction + 8);
  EXPECT_EQ(o.state.seg[arch::seg_cs], selector::code32);
}

TEST_F(ManualTest, PauseWithRexBIsPause) {
  state.gpr[Gpr::r8] = 8;
  const Outcome o = run({0xf3, 0x41, 0x90});
  EXPECT_EQ(o.state.gpr[Gpr::r8], 8u);
  EXPECT_EQ(o.state.gpr[Gpr::rax], operand);
}

}  // namespace
}  // namespace cloister::oracle
