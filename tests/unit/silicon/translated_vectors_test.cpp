// SSE in translated code: the XMM registers are in their place whenever somebody looks, faults are precise, and who may
// not use SSE, or has unmasked exceptions, is found out amid blocks, too.
#include <array>

#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, data = 0x20000;
using Pair = std::array<u64, 2>;

class TranslatedVectors : public testing::Test {
 protected:
  void SetUp() override {
    if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
    set_compiler_options({.entries = 0});
    machine.emplace(EngineKind::compiler);
    p.emplace(*machine, code);
    vmx::Controls controls;
    controls.exception_bitmap = ~u32{0};
    p->vcpu.set_controls(controls);
    p->cpu.cr4 |= arch::cr4::osfxsr | arch::cr4::osxmmexcpt;
    update_fpu_blocks(p->cpu);
    p->reg(arch::rdi) = data;
  }
  void TearDown() override { set_compiler_options({}); }

  void set_xmm(unsigned n, Pair value) { std::memcpy(p->cpu.fpu.xmm[n].byte.data(), value.data(), 16); }
  Pair xmm(unsigned n) {
    Pair value;
    std::memcpy(value.data(), p->cpu.fpu.xmm[n].byte.data(), 16);
    return value;
  }
  void set_task_switched(bool on) {
    p->cpu.cr0 = (p->cpu.cr0 & ~arch::cr0::ts) | (on ? arch::cr0::ts : 0);
    update_fpu_blocks(p->cpu);
  }
  /// Runs until the exception, or to HLT and says -1.
  int run() {
    p->cpu.rip = code;
    before = p->vcpu.instructions();
    const Exit exit = p->vcpu.run(1000);
    return exit.reason == ExitReason::exception_or_nmi ? exit.interruption.vector : -1;
  }
  void expect_fault(u8 vector, u64 rip, u64 retired) {
    EXPECT_EQ(run(), vector);
    EXPECT_EQ(p->cpu.rip, rip);
    EXPECT_EQ(p->vcpu.instructions() - before, retired);
  }
  const EngineCounters& counters() { return p->vcpu.impl().engine_counters(); }

  std::optional<LongModeMachine> machine;
  std::optional<LongModeMachine::Processor> p;
  u64 before = 0;
};

TEST_F(TranslatedVectors, RunWithoutHandlers) {
  // pcmpeqd xmm9, xmm9; psubd xmm1, xmm9; movdqa [rdi], xmm1; movq rax, xmm1; hlt
  machine->put_bytes(code, {0x66, 0x45, 0x0f, 0x76, 0xc9, 0x66, 0x41, 0x0f, 0xfa, 0xc9,
                            0x66, 0x0f, 0x7f, 0x0f, 0x66, 0x48, 0x0f, 0x7e, 0xc8, 0xf4});
  set_xmm(1, {5, 7});
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(xmm(9), (Pair{~u64{0}, ~u64{0}}));
  EXPECT_EQ(xmm(1), (Pair{0x1'0000'0006, 0x1'0000'0008}));
  EXPECT_EQ(p->reg(arch::rax), 0x1'0000'0006u);
  EXPECT_EQ(machine->get<u64>(data + 8), 0x1'0000'0008u);
  const u64 handlers = counters().by_handler;
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(counters().by_handler - handlers, 1u) << "HLT: the page is in the TLB now";
}

TEST_F(TranslatedVectors, YmmRegistersToo) {
  if (!host_features().avx) GTEST_SKIP() << "this host has no AVX2";
  p->cpu.cr4 |= arch::cr4::osxsave;
  p->cpu.xcr0 = 7;
  update_fpu_blocks(p->cpu);
  // vpcmpeqd ymm9, ymm9, ymm9; vpsubd ymm1, ymm1, ymm9; vmovdqu [rdi], ymm1; vpaddd xmm2, xmm1, [rdi]; vpmovmskb eax,
  // ymm9; paddd xmm1, xmm2; hlt
  machine->put_bytes(code, {0xc4, 0x41, 0x35, 0x76, 0xc9, 0xc4, 0xc1, 0x75, 0xfa, 0xc9, 0xc5, 0xfe, 0x7f, 0x0f,
                            0xc5, 0xf1, 0xfe, 0x17, 0xc4, 0xc1, 0x7d, 0xd7, 0xc1, 0x66, 0x0f, 0xfe, 0xca, 0xf4});
  const auto set_upper = [this](unsigned n, u8 byte) { p->cpu.fpu.upper[n].byte.fill(byte); };
  const auto start = [&] {
    set_xmm(1, {5, 7});
    set_upper(1, 0);
    set_upper(2, 0x77);
    set_upper(9, 0x55);
  };
  start();
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(machine->get<u64>(data), 0x1'0000'0006u);
  EXPECT_EQ(machine->get<u64>(data + 24), 0x1'0000'0001u);
  EXPECT_EQ(p->cpu.fpu.upper[1].byte[0], 1) << "SSE leaves what AVX has made";
  EXPECT_EQ(p->cpu.fpu.upper[2].byte[0], 0) << "128 bits clear the upper half";
  EXPECT_EQ(p->cpu.fpu.upper[9].byte[0], 0xff);
  EXPECT_EQ(p->reg(arch::rax), 0xffff'ffffu);
  EXPECT_EQ(xmm(1), (Pair{0x3'0000'0012, 0x3'0000'0018}));
  start();
  const u64 handlers = counters().by_handler;
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(counters().by_handler - handlers, 1u) << "HLT: the page is in the TLB now";

  p->cpu.xcr0 = 3;
  update_fpu_blocks(p->cpu);
  expect_fault(arch::vector::ud, code, 0);
}

TEST_F(TranslatedVectors, HandlersFindAndLeaveTheRegisters) {
  // paddq xmm1, xmm2; fxsave [rdi]; paddq xmm1, xmm2; fxrstor [rdi]; paddq xmm1, xmm2; hlt
  machine->put_bytes(code, {0x66, 0x0f, 0xd4, 0xca, 0x0f, 0xae, 0x07, 0x66, 0x0f, 0xd4, 0xca, 0x0f, 0xae, 0x0f, 0x66,
                            0x0f, 0xd4, 0xca, 0xf4});
  set_xmm(1, {1, 10});
  set_xmm(2, {1, 2});
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(machine->get<u64>(data + 176), 2u);
  EXPECT_EQ(xmm(1), (Pair{3, 14}));
}

TEST_F(TranslatedVectors, AreInTheirPlaceAtAFault) {
  // paddq xmm1, xmm2; mov eax, [rsi]; paddq xmm1, xmm2; hlt
  machine->put_bytes(code, {0x66, 0x0f, 0xd4, 0xca, 0x8b, 0x06, 0x66, 0x0f, 0xd4, 0xca, 0xf4});
  set_xmm(1, {1, 10});
  set_xmm(2, {1, 2});
  p->reg(arch::rsi) = u64{1} << 40;
  expect_fault(arch::vector::pf, code + 4, 1);
  EXPECT_EQ(xmm(1), (Pair{2, 12}));
}

TEST_F(TranslatedVectors, AreTheSameFromBlockToBlock) {
  // loop: addsd xmm0, xmm1; dec ecx; jnz loop; call +0; ucomisd xmm0, xmm1; hlt
  machine->put_bytes(code,
                     {0xf2, 0x0f, 0x58, 0xc1, 0xff, 0xc9, 0x75, 0xf8, 0xe8, 0, 0, 0, 0, 0x66, 0x0f, 0x2e, 0xc1, 0xf4});
  p->reg(arch::rsp) = data + 0x800;
  p->reg(arch::rcx) = 100;
  set_xmm(1, {0x3ff8'0000'0000'0000, 0});  // 1.5
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(xmm(0), (Pair{0x4062'c000'0000'0000, 0}));  // 150
  EXPECT_EQ(p->cpu.rflags() & arch::rflags::status, 0u) << "above";
}

TEST_F(TranslatedVectors, UnalignedOperandsFault) {
  const auto try_at = [this](u64 address, std::initializer_list<u8> bytes) {
    machine->put_bytes(code, bytes);
    p->reg(arch::rdi) = address;
    return run();
  };
  for (const u64 off : {u64{0}, u64{8}, u64{0xff8}}) {
    const bool aligned = off == 0;
    EXPECT_EQ(try_at(data + off, {0x0f, 0x28, 0x07, 0xf4}), aligned ? -1 : arch::vector::gp);  // movaps xmm0, [rdi]
    EXPECT_EQ(try_at(data + off, {0x66, 0x0f, 0x7f, 0x07, 0xf4}),
              aligned ? -1 : arch::vector::gp);  // movdqa [rdi], xmm0
    EXPECT_EQ(try_at(data + off, {0x66, 0x0f, 0xef, 0x07, 0xf4}), aligned ? -1 : arch::vector::gp);  // pxor xmm0, [rdi]
    EXPECT_EQ(try_at(data + off, {0x0f, 0x10, 0x07, 0xf4}), -1);        // movups xmm0, [rdi]
    EXPECT_EQ(try_at(data + off, {0xf2, 0x0f, 0xf0, 0x07, 0xf4}), -1);  // lddqu xmm0, [rdi]
    EXPECT_EQ(try_at(data + off, {0xf2, 0x0f, 0x58, 0x07, 0xf4}), -1);  // addsd xmm0, [rdi]
  }
}

TEST_F(TranslatedVectors, AStoreAcrossPagesIsAllOrNothing) {
  machine->put_bytes(code, {0x0f, 0x11, 0x07, 0xf4});  // movups [rdi], xmm0; hlt
  set_xmm(0, {0x1111'1111'1111'1111, 0x2222'2222'2222'2222});
  p->reg(arch::rdi) = data + 0xff8;
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(machine->get<u64>(data + 0x1000), 0x2222'2222'2222'2222u);
  machine->put<u64>(data + 0xff8, 0);
  constexpr u64 absent = 0x1f'f000;  // the last page that is mapped
  machine->map(absent, data);
  p->reg(arch::rdi) = absent + 0xff8;
  expect_fault(arch::vector::pf, code, 0);
  EXPECT_EQ(machine->get<u64>(data + 0xff8), 0u);
}

TEST_F(TranslatedVectors, TaskSwitchedIsSeenAtTheFirstOfThem) {
  // inc eax; paddq xmm1, xmm2; hlt
  machine->put_bytes(code, {0xff, 0xc0, 0x66, 0x0f, 0xd4, 0xca, 0xf4});
  set_xmm(1, {1, 10});
  set_xmm(2, {1, 2});
  EXPECT_EQ(run(), -1);
  for (unsigned i = 0; i < 3; ++i) {
    set_task_switched(true);
    expect_fault(arch::vector::nm, code + 2, 1);
    set_task_switched(false);
    EXPECT_EQ(run(), -1);
  }
  EXPECT_EQ(xmm(1), (Pair{5, 18}));
  EXPECT_EQ(p->reg(arch::rax), 7u);
}

TEST_F(TranslatedVectors, UnmaskedExceptionsArePrecise) {
  // paddq xmm3, xmm2; divsd xmm0, xmm1; paddq xmm3, xmm2; hlt
  machine->put_bytes(code, {0x66, 0x0f, 0xd4, 0xda, 0xf2, 0x0f, 0x5e, 0xc1, 0x66, 0x0f, 0xd4, 0xda, 0xf4});
  constexpr Pair one{0x3ff0'0000'0000'0000, 3};
  set_xmm(2, {1, 1});
  set_xmm(0, one);
  EXPECT_EQ(run(), -1);
  EXPECT_EQ(guest_mxcsr(p->cpu), mxcsr::initial | mxcsr::ze);
  for (unsigned i = 0; i < 3; ++i) {
    set_guest_mxcsr(p->cpu, mxcsr::initial & ~(mxcsr::ze << 7));
    set_xmm(0, one);
    set_xmm(3, {});
    expect_fault(arch::vector::xm, code + 4, 1);
    EXPECT_EQ(guest_mxcsr(p->cpu), (mxcsr::initial & ~(mxcsr::ze << 7)) | mxcsr::ze);
    EXPECT_EQ(xmm(0), one);
    EXPECT_EQ(xmm(3), (Pair{1, 1}));
    set_guest_mxcsr(p->cpu, mxcsr::initial);
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(xmm(0)[0], 0x7ff0'0000'0000'0000u);
  }
}

TEST_F(TranslatedVectors, LdmxcsrCountsAtOnce) {
  // divsd xmm0, xmm1; ldmxcsr [rdi]; divsd xmm2, xmm1; stmxcsr [rdi+4]; hlt
  machine->put_bytes(code,
                     {0xf2, 0x0f, 0x5e, 0xc1, 0x0f, 0xae, 0x17, 0xf2, 0x0f, 0x5e, 0xd1, 0x0f, 0xae, 0x5f, 4, 0xf4});
  constexpr u64 three = 0x4008'0000'0000'0000, one = 0x3ff0'0000'0000'0000;
  for (const u32 up : {0u, 2u << 13}) {
    machine->put<u32>(data, mxcsr::initial | up);
    set_guest_mxcsr(p->cpu, mxcsr::initial);
    set_xmm(0, {one, 0});
    set_xmm(1, {three, 0});
    set_xmm(2, {one, 0});
    EXPECT_EQ(run(), -1);
    EXPECT_EQ(xmm(0)[0], 0x3fd5'5555'5555'5555u);
    EXPECT_EQ(xmm(2)[0], 0x3fd5'5555'5555'5555u + (up != 0 ? 1 : 0));
    EXPECT_EQ(machine->get<u32>(data + 4), mxcsr::initial | up | mxcsr::pe);
  }
  machine->put<u32>(data, 0);
  set_guest_mxcsr(p->cpu, mxcsr::initial);
  expect_fault(arch::vector::xm, code + 7, 2);
}

}  // namespace
}  // namespace cloister::silicon
