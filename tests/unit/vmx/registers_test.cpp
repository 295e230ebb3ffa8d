// Registers by value: each group is what was written, and the guest has it (vmx/regs.hpp; SDM vol. 3C, 25.4). MSRs and
// XCR0 refuse what a guest's WRMSR and XSETBV would.
#include <cstring>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

using Registers = OneProcessor;

TEST_P(Registers, General) {
  GeneralRegs regs;
  for (std::size_t i = 0; i < regs.gpr.size(); ++i) regs.gpr[i] = 0x0123'4567'89ab'cd00 + i;
  regs.rip = 0xffff'8000'1234'5678;
  for (const u64 rflags :
       {u64{0}, arch::rflags::status, arch::rflags::if_ | arch::rflags::df, arch::rflags::iopl,
        arch::rflags::nt | arch::rflags::rf, arch::rflags::ac | arch::rflags::id, arch::rflags::tf}) {
    regs.rflags = rflags | arch::rflags::fixed1;
    vcpu_->set_general(regs);
    const GeneralRegs now = vcpu_->general();
    EXPECT_EQ(now.gpr, regs.gpr);
    EXPECT_EQ(now.rip, regs.rip);
    EXPECT_EQ(now.rflags, regs.rflags);
  }
}

TEST_P(Registers, GeneralAreTheGuests) {
  GeneralRegs regs;
  regs.gpr[arch::rax] = 40;
  regs.gpr[arch::r15] = 2;
  regs.rflags |= arch::rflags::cf;
  const Exit exit = run({0x4c, 0x11, 0xf8, 0x9c, 0x5b, 0xf9, 0xf4}, regs);  // adc rax, r15; pushf; pop rbx; stc; hlt
  expect_halt_at(exit, code + 6);
  EXPECT_EQ(reg(arch::rax), 43u);
  EXPECT_EQ(reg(arch::rbx) & arch::rflags::cf, 0u);
  EXPECT_EQ(reg(arch::rsp), stack);
  EXPECT_EQ(vcpu_->general().rflags & arch::rflags::cf, arch::rflags::cf);
}

TEST_P(Registers, System) {
  SystemRegs s = long_mode();
  s.seg[arch::seg_es] = {data_selector, 0, 0xffff'ffff, 0xc093};
  s.seg[arch::seg_fs] = {0, 0xffff'8000'0000'1000, 0, 1u << 16};
  s.seg[arch::seg_gs] = {data_selector, 0x1234'5000, 0xffff'ffff, 0xc093};
  s.ldtr = {0x30, 0x7000, 0x1f, 0x82};
  s.tr = {tss_selector, tss + 0x100, 0x68, 0x8b};
  s.gdtr = {gdt + 8, 0x37};
  s.idtr = {idt + 16, 0xff0};
  s.cr2 = 0xffff'ffff'dead'beef;
  s.cr3 = tables | arch::pte::pwt;
  s.cr4 |= arch::cr4::pge | arch::cr4::fsgsbase;
  s.cr8 = 9;
  s.xcr0 = 3;
  s.efer |= arch::efer::sce | arch::efer::nxe;
  s.dr = {0x1000, 0x2000, 0x3000, 0xffff'8000'0000'4000};
  s.dr6 = arch::dr6::fixed1 | arch::dr6::bs;
  s.dr7 = arch::dr7::fixed1 | 0x55;
  vcpu_->set_system(s);
  const SystemRegs now = vcpu_->system();
  EXPECT_EQ(now.seg, s.seg);
  EXPECT_EQ(now.ldtr, s.ldtr);
  EXPECT_EQ(now.tr, s.tr);
  EXPECT_EQ(now.gdtr, s.gdtr);
  EXPECT_EQ(now.idtr, s.idtr);
  EXPECT_EQ(now.cr0, s.cr0);
  EXPECT_EQ(now.cr2, s.cr2);
  EXPECT_EQ(now.cr3, s.cr3);
  EXPECT_EQ(now.cr4, s.cr4);
  EXPECT_EQ(now.cr8, s.cr8);
  EXPECT_EQ(now.xcr0, s.xcr0);
  EXPECT_EQ(now.efer, s.efer);
  EXPECT_EQ(now.dr, s.dr);
  EXPECT_EQ(now.dr6, s.dr6);
  EXPECT_EQ(now.dr7, s.dr7);
}

TEST_P(Registers, PrivilegeIsThatOfSs) {
  SystemRegs s = user_mode();
  s.cpl = 1;
  vcpu_->set_system(s);
  EXPECT_EQ(vcpu_->system().cpl, 3u);
  vcpu_->set_system(long_mode());
  EXPECT_EQ(vcpu_->system().cpl, 0u);
}

TEST_P(Registers, SystemAreTheGuests) {
  SystemRegs s = long_mode();
  s.cr2 = 0x1234'5678'9000;
  s.dr[1] = 0x4321'0000;
  s.seg[arch::seg_gs].base = data - 8;
  vcpu_->set_system(s);
  guest_.put<u64>(data, 0x77);
  // mov rax, cr2; mov rbx, cr3; mov rcx, dr1; mov rdx, gs:[8]; mov rsi, 0x2000 in CR2; mov cr2, rsi; hlt
  const Exit exit = run({0x0f, 0x20, 0xd0, 0x0f, 0x20, 0xdb, 0x0f, 0x21, 0xc9, 0x65, 0x48, 0x8b, 0x14, 0x25,
                         8,    0,    0,    0,    0xbe, 0x00, 0x20, 0x00, 0x00, 0x0f, 0x22, 0xd6, 0xf4});
  expect_halt_at(exit, code + 26);
  EXPECT_EQ(reg(arch::rax), s.cr2);
  EXPECT_EQ(reg(arch::rbx), s.cr3);
  EXPECT_EQ(reg(arch::rcx), s.dr[1]);
  EXPECT_EQ(reg(arch::rdx), 0x77u);
  EXPECT_EQ(vcpu_->system().cr2, 0x2000u);
}

/// What the guest's tables say now, though it may have kept what they said before.
TEST_P(Registers, SystemFlushesTranslations) {
  constexpr u64 linear = 0x5'0000;
  constexpr u64 flags = arch::pte::p | arch::pte::rw;
  GeneralRegs regs;
  regs.gpr[arch::rdi] = linear;
  for (const u64 page : {0x2'0000, 0x2'1000, 0x2'2000}) {
    guest_.put<u64>(page, page + 5);
    guest_.map(linear, page | flags);
    vcpu_->set_system(vcpu_->system());
    expect_halt_at(run({0x48, 0x8b, 0x07, 0xf4}, regs), code + 3);  // mov rax, [rdi]
    EXPECT_EQ(reg(arch::rax), page + 5);
  }
}

// ---- x87 and SSE: offsets of the FXSAVE image (SDM vol. 1, table 10-2)

constexpr std::size_t fsw_at = 2, tags_at = 4, mxcsr_at = 24, st_at = 32, xmm_at = 160;

template <class T>
T at(const FxsaveImage& image, std::size_t offset) {
  T value;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}

TEST_P(Registers, FloatingPoint) {
  FxsaveImage image{};
  const auto put = [&](std::size_t offset, auto value) { std::memcpy(image.data() + offset, &value, sizeof value); };
  put(0, u16{0x0f7f});
  put(fsw_at, u16{0x3800});  // TOP is 7
  put(tags_at, u8{0xff});
  put(mxcsr_at, u32{0x3f80});
  for (std::size_t i = 0; i < 8; ++i) {
    put(st_at + 16 * i, u64{0x8000'0000'0000'0000} + i);
    put(st_at + 16 * i + 8, static_cast<u16>(0x3fff + i));
  }
  for (std::size_t i = 0; i < 32; ++i) put(xmm_at + 8 * i, 0x1111'2222'3333'0000 + i);
  vcpu_->set_fpu(image);
  const FxsaveImage now = vcpu_->fpu();
  EXPECT_EQ(at<u16>(now, 0), 0x0f7f);
  EXPECT_EQ(at<u16>(now, fsw_at), 0x3800);
  EXPECT_EQ(at<u8>(now, tags_at), 0xff);
  EXPECT_EQ(at<u32>(now, mxcsr_at), 0x3f80u);
  using Ten = std::array<u8, 10>;
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(at<Ten>(now, st_at + 16 * i), at<Ten>(image, st_at + 16 * i)) << i;
  using All = std::array<u64, 32>;
  EXPECT_EQ(at<All>(now, xmm_at), at<All>(image, xmm_at));
}

TEST_P(Registers, FloatingPointIsTheGuests) {
  FxsaveImage image = vcpu_->fpu();
  const std::array<u64, 2> one{3, 4}, two{5, 6};
  std::memcpy(image.data() + xmm_at + 16, &one, sizeof one);
  vcpu_->set_fpu(image);
  guest_.put(data + 16, two);
  GeneralRegs regs;
  regs.gpr[arch::rdi] = data;
  // movaps [rdi], xmm1; movaps xmm2, [rdi + 16]; fninit; fld1; hlt
  const Exit exit = run({0x0f, 0x29, 0x0f, 0x0f, 0x28, 0x57, 0x10, 0xdb, 0xe3, 0xd9, 0xe8, 0xf4}, regs);
  expect_halt_at(exit, code + 11);
  EXPECT_EQ((guest_.get<std::array<u64, 2>>(data)), one);
  const FxsaveImage now = vcpu_->fpu();
  EXPECT_EQ((at<std::array<u64, 2>>(now, xmm_at + 32)), two);
  EXPECT_EQ(at<u16>(now, fsw_at), 7u << 11) << "TOP";
  EXPECT_EQ(at<u8>(now, tags_at), 0x80) << "the register, not the stack's place";
  EXPECT_EQ(at<u64>(now, st_at), 0x8000'0000'0000'0000u);
  EXPECT_EQ(at<u16>(now, st_at + 8), 0x3fff);
}

// ---- MSRs

namespace msr = arch::msr;
constexpr u64 canonical = 0xffff'8000'1234'5678, not_canonical = u64{1} << 47, wide = u64{1} << 32;

TEST_P(Registers, ModelSpecific) {
  constexpr std::pair<u32, u64> values[] = {
      {msr::sysenter_cs, 0x10},        {msr::sysenter_esp, canonical},       {msr::sysenter_eip, canonical},
      {msr::star, 0x0023'0010 * wide}, {msr::lstar, canonical + 1},          {msr::cstar, canonical + 2},
      {msr::fmask, 0x4'7700},          {msr::kernel_gs_base, canonical + 3}, {msr::fs_base, canonical + 4},
      {msr::gs_base, canonical + 5},   {msr::pat, 0x0007'0406'0007'0406},    {msr::tsc_aux, 0x1234},
  };
  for (const auto& [index, value] : values) EXPECT_TRUE(vcpu_->write_msr(index, value)) << std::hex << index;
  for (const auto& [index, value] : values) EXPECT_EQ(vcpu_->read_msr(index), value) << std::hex << index;
  EXPECT_EQ(vcpu_->system().seg[arch::seg_fs].base, canonical + 4);
  EXPECT_EQ(vcpu_->system().seg[arch::seg_gs].base, canonical + 5);
  EXPECT_EQ(vcpu_->read_msr(msr::efer), arch::efer::lme | arch::efer::lma);
}

TEST_P(Registers, ModelSpecificRefuse) {
  constexpr std::pair<u32, u64> refused[] = {
      {msr::lstar, not_canonical},
      {msr::sysenter_eip, not_canonical},
      {msr::kernel_gs_base, not_canonical},
      {msr::fs_base, not_canonical},
      {msr::gs_base, not_canonical},
      {msr::pat, 2},
      {msr::efer, wide},
      {msr::feature_control, 0},
      {0xdead'beef, 0},
      {msr::efer, arch::efer::sce},  // LME may not change while paging is on
  };
  for (const auto& [index, value] : refused) {
    const auto before = vcpu_->read_msr(index);
    EXPECT_FALSE(vcpu_->write_msr(index, value)) << std::hex << index;
    EXPECT_EQ(vcpu_->read_msr(index), before) << std::hex << index;
  }
  EXPECT_EQ(vcpu_->read_msr(0xdead'beef), std::nullopt);
}

TEST_P(Registers, ModelSpecificThatPassDoNotExit) {
  Controls controls;
  controls.msr_passthrough = {msr::kernel_gs_base};
  controls.exception_bitmap = 1u << arch::vector::gp;
  vcpu_->set_controls(controls);
  const auto access = [&](bool write, u32 index, u64 value = 0) {
    GeneralRegs regs;
    regs.gpr[arch::rcx] = index;
    regs.gpr[arch::rax] = static_cast<u32>(value);
    regs.gpr[arch::rdx] = value >> 32;
    return write ? run({0x0f, 0x30, 0xf4}, regs) : run({0x0f, 0x32, 0xf4}, regs);
  };
  expect_halt_at(access(true, msr::kernel_gs_base, canonical), code + 2);
  EXPECT_EQ(vcpu_->read_msr(msr::kernel_gs_base), canonical);
  expect_halt_at(access(false, msr::kernel_gs_base), code + 2);
  EXPECT_EQ(reg(arch::rdx) << 32 | reg(arch::rax), canonical);
  const Exit refused = access(true, msr::kernel_gs_base, not_canonical);
  EXPECT_EQ(refused.reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(refused.interruption, (Event{arch::vector::gp, EventType::exception, true, 0, 0}));
  EXPECT_EQ(access(false, msr::lstar).reason, ExitReason::rdmsr);
  EXPECT_EQ(access(true, msr::lstar).reason, ExitReason::wrmsr);
  controls.msr_passthrough = {};
  vcpu_->set_controls(controls);
  EXPECT_EQ(access(false, msr::kernel_gs_base).reason, ExitReason::rdmsr);
  EXPECT_EQ(access(true, msr::kernel_gs_base, canonical + 1).reason, ExitReason::wrmsr);
  EXPECT_EQ(vcpu_->read_msr(msr::kernel_gs_base), canonical);
}

/// XSETBV (SDM vol. 2D): x87 is always on.
TEST_P(Registers, XsetbvAfterItsExit) {
  for (const u64 refused : {u64{0}, u64{2}, u64{1} << 63, ~u64{0}}) {
    EXPECT_FALSE(vcpu_->set_xcr0(refused)) << refused;
    EXPECT_EQ(vcpu_->system().xcr0, 1u);
  }
  EXPECT_TRUE(vcpu_->set_xcr0(3));
  EXPECT_EQ(vcpu_->system().xcr0, 3u);
  expect_halt_at(run({0x31, 0xc9, 0x0f, 0x01, 0xd0, 0xf4}), code + 5);  // xor ecx, ecx; xgetbv; hlt
  EXPECT_EQ(reg(arch::rax), 3u);
  EXPECT_TRUE(vcpu_->set_xcr0(1));
  EXPECT_EQ(vcpu_->system().xcr0, 1u);
}

CLOISTER_EACH_IMPLEMENTATION(Registers);

}  // namespace
}  // namespace cloister::vmx
