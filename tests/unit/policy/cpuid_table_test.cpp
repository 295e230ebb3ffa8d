// What is known of a processor by some of its leaves, or by single bits (SDM vol. 2A, CPUID, table 3-8).
#include <gtest/gtest.h>

#include "policy/cpu_map.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {
namespace {

constexpr CpuidRegs all{~0u, ~0u, ~0u, ~0u};
constexpr CpuidBit sse3{1, 0, CpuidReg::ecx, 0}, sgx{7, 0, CpuidReg::ebx, 2};

TEST(CpuidTable, AnEntryIsKnownAndNothingElseIs) {
  CpuidTable table;
  EXPECT_EQ(table.says(sse3), Known::unknown);
  table.set(1, 0, {0, 0, 1, 0});
  EXPECT_EQ(table.says(sse3), Known::yes) << "though nothing says how many leaves there are";
  EXPECT_EQ(table.says({1, 0, CpuidReg::ecx, 1}), Known::no);
  EXPECT_EQ(table.says(sgx), Known::unknown);
}

TEST(CpuidTable, WhatIsThereMayExcludeALeaf) {
  CpuidTable table;
  table.set(0, 0, {6, 0, 0, 0});
  EXPECT_EQ(table.says(sgx), Known::no) << "beyond the last leaf";
  EXPECT_EQ(table.says({0x8000'0001, 0, CpuidReg::edx, 20}), Known::unknown) << "another range";
  EXPECT_EQ(table.says({0xc000'0001, 0, CpuidReg::edx, 2}), Known::no) << "a range that not every processor has";
  table.set(0, 0, {7, 0, 0, 0});
  table.set(7, 0, {1, 0, 0, 0});
  EXPECT_EQ(table.says({7, 1, CpuidReg::eax, 4}), Known::unknown);
  EXPECT_EQ(table.says({7, 2, CpuidReg::edx, 4}), Known::no) << "beyond the last sub-leaf";
}

TEST(CpuidTable, BitsAreLearnedOneByOne) {
  CpuidTable table;
  table.learn(sgx, true);
  table.learn({7, 0, CpuidReg::ebx, 3}, false);
  EXPECT_EQ(table.says(sgx), Known::yes);
  EXPECT_EQ(table.says({7, 0, CpuidReg::ebx, 3}), Known::no);
  EXPECT_EQ(table.says({7, 0, CpuidReg::ebx, 4}), Known::unknown);
  EXPECT_EQ(table.says({7, 1, CpuidReg::eax, 4}), Known::unknown) << "nobody said how many sub-leaves there are";
  table.learn(sgx, false);
  EXPECT_EQ(table.says(sgx), Known::no) << "the last word counts";
  table.learn(7, 0, {0, 0x10, 0, 0}, all);
  CpuidTable whole;
  whole.set(7, 0, {0, 0x10, 0, 0});
  EXPECT_EQ(table, whole);
}

TEST(CpuidTable, AWholeLeafStaysWhole) {
  CpuidTable table;
  table.set(7, 0, {0, 0xf0, 0, 0});
  table.learn(sgx, true);
  EXPECT_EQ(table.look(7, 0).regs, (CpuidRegs{0, 0xf4, 0, 0}));
  EXPECT_EQ(table.look(7, 0).known, all);
}

TEST(CpuidTable, OneMissingBitOfSeveralIsEnoughForNo) {
  const MapBits two{7, 0, {0, 0x6, 0, 0}};
  CpuidTable table;
  EXPECT_EQ(says(table, two), Known::unknown);
  table.learn(sgx, true);
  EXPECT_EQ(says(table, two), Known::unknown);
  table.learn({7, 0, CpuidReg::ebx, 1}, true);
  EXPECT_EQ(says(table, two), Known::yes);
  table.learn(sgx, false);
  EXPECT_EQ(says(table, two), Known::no);
}

}  // namespace
}  // namespace cloister::policy
