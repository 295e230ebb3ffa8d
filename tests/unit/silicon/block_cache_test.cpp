// What finding blocks costs: in two address spaces in turn, and where fewer instructions are due than a block has.
#include "long_mode_machine.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 code = 0x10000, far = 0x13000;

struct BlockLookups : testing::Test, LongModeMachine {
  LongModeMachine::Processor p{*this, code};
  u64 lookups() const { return p.cpu.blocks->lookups(); }
  u64 decoded() const { return p.cpu.blocks->decoded(); }
};

TEST_F(BlockLookups, TwoAddressSpacesKnowTheSameCode) {
  put_bytes(code, {0xff, 0xc0, 0xe9});  // inc eax; jmp far
  put<u32>(code + 3, static_cast<u32>(far - (code + 7)));
  put_bytes(far, {0xff, 0xc0, 0xf4});  // inc eax; hlt
  const auto run_in = [&](u16 space) {
    p.cpu.mmu->switch_space(space, true);
    const u64 before = lookups();
    p.run_to_halt(code);
    return lookups() - before;
  };
  run_in(1);
  const u64 known = run_in(1);
  EXPECT_GT(run_in(2), known);
  for (const u16 space : {1, 2, 1, 2, 2, 1}) EXPECT_EQ(run_in(space), known) << space;
  EXPECT_EQ(p.reg(arch::rax), 18u);
}

TEST_F(BlockLookups, ABlocksBeginningIsNotDecodedAgain) {
  put_bytes(code, {0xff, 0xc0, 0xff, 0xc1, 0xff, 0xc2, 0x8d, 0x1d, 1, 0, 0, 0, 0xf4});  // inc eax, ecx, edx; lea; hlt
  p.run_to_halt(code);
  const u64 before = decoded();
  for (const u64 instructions : {1, 2, 3, 4}) {
    p.cpu.rip = code;
    p.reg(arch::rbx) = 0;
    EXPECT_EQ(p.vcpu.run(instructions).reason, ExitReason::preemption_timer);
    EXPECT_EQ(p.reg(arch::rbx), instructions == 4 ? code + 13 : 0);
  }
  EXPECT_EQ(decoded(), before);
  EXPECT_EQ(p.reg(arch::rax), 5u);
  EXPECT_EQ(p.reg(arch::rdx), 3u);
  put<u8>(code + 1, 0xc8);  // dec eax: the block is not what it was
  p.cpu.rip = code;
  EXPECT_EQ(p.vcpu.run(1).reason, ExitReason::preemption_timer);
  EXPECT_EQ(p.reg(arch::rax), 4u);
}

}  // namespace
}  // namespace cloister::silicon
