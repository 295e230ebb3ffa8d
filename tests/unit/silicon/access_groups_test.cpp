// Accesses that look into the TLB together: each faults as if it were alone, and none uses what a handler has lost.
#include "long_mode_machine.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "silicon/engine/engines.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, data = 0x20000, other = 0x24000;

class Groups : public testing::Test {
 protected:
  void SetUp() override {
    if (!engine_available(EngineKind::compiler)) GTEST_SKIP() << "this build or host has no compiler";
    set_compiler_options({.entries = 0});
    machine.emplace(EngineKind::compiler);
    p.emplace(*machine, code);
    vmx::Controls controls;
    controls.exception_bitmap = ~u32{0};
    p->vcpu.set_controls(controls);
  }
  void TearDown() override { set_compiler_options({}); }
  void set_page(u64 linear, u64 clear) {
    const u64 entry = LongModeMachine::tables + 3 * arch::page_size + linear / arch::page_size * 8;
    machine->put<u64>(entry, machine->get<u64>(entry) & ~clear);
    p->cpu.mmu->flush_all();
  }
  /// To its HLT, or to the fault, of which it says the RIP.
  std::optional<u64> run() {
    p->cpu.rip = code;
    const Exit exit = p->vcpu.run(1000);
    if (exit.reason != ExitReason::exception_or_nmi) return {};
    EXPECT_EQ(exit.interruption.vector, arch::vector::pf);
    return p->cpu.rip;
  }

  std::optional<LongModeMachine> machine;
  std::optional<LongModeMachine::Processor> p;
};

TEST_F(Groups, PushesFaultOneByOne) {
  machine->put_bytes(code, {0x50, 0x53, 0x51, 0xf4});  // push rax; push rbx; push rcx; hlt
  p->reg(arch::rax) = 1;
  p->reg(arch::rbx) = 2;
  p->reg(arch::rcx) = 3;
  for (const u64 into_absent : {u64{0}, u64{1}, u64{2}, u64{3}}) {
    p->reg(arch::rsp) = data + 8 * (3 - into_absent);
    set_page(data - arch::page_size, into_absent == 0 ? 0 : arch::pte::p);
    const auto fault = run();
    EXPECT_EQ(fault.has_value(), into_absent != 0);
    EXPECT_EQ(fault.value_or(code + 3), code + 3 - into_absent);
    EXPECT_EQ(p->reg(arch::rsp), data);
    EXPECT_EQ(machine->get<u64>(data), into_absent == 3 ? 1 : 3 - into_absent);
  }
}

TEST_F(Groups, AReadIsNoWrite) {
  // mov eax, [rdi]; mov ecx, [rdi+4]; mov [rdi+8], ecx; hlt
  machine->put_bytes(code, {0x8b, 0x07, 0x8b, 0x4f, 0x04, 0x89, 0x4f, 0x08, 0xf4});
  machine->put<u64>(data, 0x2'0000'0001);
  p->reg(arch::rdi) = data;
  EXPECT_FALSE(run());
  EXPECT_EQ(machine->get<u32>(data + 8), 2u);
  machine->put<u32>(data + 8, 0);
  set_page(data, arch::pte::rw);
  EXPECT_EQ(run(), code + 5);
  EXPECT_EQ(p->reg(arch::rax), 1u);
  EXPECT_EQ(p->reg(arch::rcx), 2u);
  EXPECT_EQ(machine->get<u32>(data + 8), 0u);
}

TEST_F(Groups, AHandlerLosesWhatWasFound) {
  // mov eax, [rdi]; add edx, [rsi]; add rdi, 8; add eax, [rdi]; hlt: the second one misses the TLB each time
  machine->put_bytes(code, {0x8b, 0x07, 0x03, 0x16, 0x48, 0x83, 0xc7, 0x08, 0x03, 0x07, 0xf4});
  machine->put<u64>(data, 10);
  machine->put<u64>(data + 8, 20);
  machine->put<u64>(other, 1);
  p->reg(arch::rsi) = other;
  for (unsigned i = 1; i < 4; ++i) {
    p->reg(arch::rdi) = data;
    EXPECT_FALSE(run());
    EXPECT_EQ(p->reg(arch::rax), 30u);
    EXPECT_EQ(p->reg(arch::rdx), i);
    p->cpu.tlb.at(other) = {tlb_invalid, tlb_invalid, 0};
  }
}

TEST_F(Groups, ARegisterThatGetsAnotherValueEndsThem) {
  // mov eax, [rdi]; mov rdi, [rdi+8]; mov ecx, [rdi+16]; hlt
  machine->put_bytes(code, {0x8b, 0x07, 0x48, 0x8b, 0x7f, 0x08, 0x8b, 0x4f, 0x10, 0xf4});
  machine->put<u64>(data, 1);
  machine->put<u64>(data + 8, other);
  machine->put<u64>(data + 16, 3);
  machine->put<u64>(other + 16, 4);
  p->reg(arch::rdi) = data;
  EXPECT_FALSE(run());
  EXPECT_EQ(p->reg(arch::rcx), 4u);
}

TEST_F(Groups, AnIndexThatMovesEndsThem) {
  // mov eax, [rdi+rcx*8]; mov edx, [rdi+rcx*8+8]; add rcx, 0x200; mov ebx, [rdi+rcx*8]; hlt
  machine->put_bytes(code, {0x8b, 0x04, 0xcf, 0x8b, 0x54, 0xcf, 0x08, 0x48, 0x81, 0xc1, 0x00, 0x02, 0x00, 0x00, 0x8b,
                            0x1c, 0xcf, 0xf4});
  for (const u64 n : {0u, 1u, 0x200u, 0x1ffu}) {
    machine->put<u64>(data + 8 * n, 10 + n);
    machine->put<u64>(data + 8 * n + 8, 20 + n);
    machine->put<u64>(data + 8 * n + 0x1000, 30 + n);
    p->reg(arch::rdi) = data;
    p->reg(arch::rcx) = n;
    EXPECT_FALSE(run());
    EXPECT_EQ(p->reg(arch::rax), 10 + n);
    EXPECT_EQ(p->reg(arch::rdx), 20 + n);
    EXPECT_EQ(p->reg(arch::rbx), 30 + n);
  }
}

}  // namespace
}  // namespace cloister::silicon
