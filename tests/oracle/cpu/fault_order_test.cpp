// Both orders of CMPS's faults are taken, and nothing else. The software processor stands for hosts of either kind.
#include "oracle/cpu/fault_order.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "oracle/cpu/software.hpp"

namespace cloister::oracle {
namespace {

constexpr u64 nowhere = 0x4000'0000, elsewhere = 0x5000'0000, somewhere = sandbox::data + 0x100;

class FaultOrderTest : public testing::Test {
 protected:
  FaultOrderTest() {
    const auto gdt = descriptor_table();
    std::memcpy(&software.memory()[sandbox::tables - sandbox::base], gdt.data(), sizeof gdt);
    state.rip = sandbox::instruction;
    state.rflags = arch::rflags::fixed1 | arch::rflags::if_;
    state.seg = {selector::data, selector::code64, selector::data, selector::data, 0, selector::data};
    state.gpr[arch::rcx] = 3;
  }
  Outcome run(const State& from, std::span<const u8> code) {
    std::memcpy(&software.memory()[sandbox::instruction - sandbox::base], code.data(), code.size());
    return software.run(from, true);
  }
  /// What is said of a host on which `code` ends like `other` does.
  std::optional<Operand> judge(std::initializer_list<u8> code, std::initializer_list<u8> other, u64 rsi, u64 rdi,
                               const std::function<void(Outcome&)>& change = {}) {
    state.gpr[arch::rsi] = rsi;
    state.gpr[arch::rdi] = rdi;
    Instruction i;
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    std::copy(code.begin(), code.end(), bytes.begin());
    EXPECT_TRUE(decode(bytes, true, i));
    Outcome fault = run(state, {other.begin(), other.size()});
    EXPECT_TRUE(fault.vector);
    if (change) change(fault);
    return reported_first(i, fault, [&](const State& s, std::span<const u8> c) { return run(s, c); });
  }

  Software software;
  State state;
};

TEST_F(FaultOrderTest, EitherOperandMayFaultFirst) {
  EXPECT_EQ(judge({0xa6}, {0xac}, nowhere, elsewhere), Operand::source);
  EXPECT_EQ(judge({0xa6}, {0xae}, nowhere, elsewhere), Operand::destination);
  EXPECT_EQ(judge({0xf3, 0x48, 0xa7}, {0xf3, 0x48, 0xaf}, nowhere, elsewhere), Operand::destination);
  EXPECT_EQ(judge({0xf2, 0x66, 0xa7}, {0xf2, 0x66, 0xad}, nowhere, elsewhere), Operand::source);
}

TEST_F(FaultOrderTest, OursReportsTheDestination) {
  EXPECT_EQ(judge({0x48, 0xa7}, {0x48, 0xa7}, nowhere, elsewhere), Operand::destination);
}

TEST_F(FaultOrderTest, AnyOtherFaultIsNone) {
  const auto wrong = [&](const std::function<void(Outcome&)>& change) {
    return judge({0xa6}, {0xae}, nowhere, elsewhere, change);
  };
  EXPECT_EQ(wrong([](Outcome& o) { ++o.cr2; }), std::nullopt);
  EXPECT_EQ(wrong([](Outcome& o) { o.error |= arch::pfec::wr; }), std::nullopt);
  EXPECT_EQ(wrong([](Outcome& o) { o.vector = arch::vector::gp; }), std::nullopt);
  EXPECT_EQ(wrong([](Outcome& o) { o.vector.reset(); }), std::nullopt);
}

TEST_F(FaultOrderTest, OneFaultLeavesNoOrder) {
  EXPECT_EQ(judge({0xa6}, {0xae}, somewhere, elsewhere), std::nullopt);
  EXPECT_EQ(judge({0xa6}, {0xac}, nowhere, somewhere), std::nullopt);
}

TEST_F(FaultOrderTest, OtherInstructionsHaveTheirOrder) {
  EXPECT_EQ(judge({0xa4}, {0xaa}, nowhere, elsewhere), std::nullopt) << "MOVS reads before it writes";
}

}  // namespace
}  // namespace cloister::oracle
