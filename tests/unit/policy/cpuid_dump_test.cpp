// Dumps in both formats, whole, broken and contradictory.
#include "policy/cpuid_dump.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/policy/dumps.hpp"
#include "unit/policy/known_dumps.hpp"

namespace cloister::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CpuidDump good(std::string_view text) {
  auto dump = read_cpuid_dump(text);
  EXPECT_TRUE(dump.has_value()) << (dump ? "" : dump.error().message);
  return dump.value_or(CpuidDump{{{}}});
}

TEST(CpuidDump, ReadsTheOutputOfCpuid) {
  const CpuidDump dump = good(tests::raw_dump);
  ASSERT_EQ(dump.cpus.size(), 1u);
  const CpuidTable& table = dump.cpus[0].table;
  EXPECT_EQ(table.leaves().size(), 9u);
  EXPECT_EQ(table.get(1, 0), (CpuidRegs{0x000806ea, 0x00100800, 0x7ffafbff, 0xbfebfbff}));
  EXPECT_EQ(table.get(0x12, 2), (CpuidRegs{0x40200001, 0, 0x05d80001, 0}));
}

// `cpuid -1 -r` has no number in its header.
TEST(CpuidDump, ReadsASingleProcessorOfCpuid) {
  EXPECT_EQ(good("CPU:\n   0x00000000 0x00: eax=0x1 ebx=0x2 ecx=0x3 edx=0x4\n").cpus[0].table.get(0, 0),
            (CpuidRegs{1, 2, 3, 4}));
}

TEST(CpuidDump, ReadsAidaFilesAndSkipsTheirText) {
  const CpuidDump dump = good(tests::aida_dump);
  ASSERT_EQ(dump.cpus.size(), 2u);
  EXPECT_EQ(dump.cpus[1].number, 1u);
  EXPECT_EQ(dump.cpus[0].table.get(0x12, 1), (CpuidRegs{0xb6, 0, 0x2e7, 0}));
  EXPECT_EQ(dump.cpus[1].table.get(1, 0).ebx, 0x01100800u);
}

TEST(CpuidDump, ReadsInstLatFilesWithTheirLineEnds) {
  const CpuidDump dump = good(tests::instlat_dump);
  ASSERT_EQ(dump.cpus.size(), 1u);
  EXPECT_EQ(dump.cpus[0].table.get(0x12, 0).edx, 0x241fu);
  EXPECT_FALSE(dump.cpus[0].table.leaves().contains({0x12, 1})) << "the dump ends before";
}

// Each processor of the file, each sub-leaf of the leaf.
TEST(CpuidDump, ReadsOlderInstLatFiles) {
  const CpuidDump dump = good(
      "CPUID Registers (CPU #1):\n"
      "CPUID 00000000: 00000007-756E6547-6C65746E-49656E69\n"
      "CPUID 00000004: 7C004121-02C0003F-0000003F-00000000\n"
      "CPUID 00000004: 7C004122-01C0003F-0000003F-00000000 [L1 code]\n"
      "CPUID 00000007 00000000-029c67af-00000000-bc002e00\n"
      "CPUID Registers (CPU #2 Virtual):\n"
      "cpuid 00000000: 00000007-756e6547-6c65746e-49656e69\n"
      "CPUID 00000000: 00000007-756E6547-6C65746E-49656E69\n");
  ASSERT_EQ(dump.cpus.size(), 3u) << "leaf 0 again is another processor's, with a heading or without";
  EXPECT_EQ(dump.cpus[0].number, 1u);
  EXPECT_EQ(dump.cpus[2].number, 3u);
  EXPECT_EQ(dump.cpus[0].table.get(4, 1).eax, 0x7c004122u);
  EXPECT_EQ(dump.cpus[0].table.get(7, 0).ebx, 0x029c67afu);
}

// The same line twice is no contradiction, as where people put two excerpts into one file.
TEST(CpuidDump, ReadsALineTwice) {
  const std::string line = "   0x00000007 0x00: eax=0x0 ebx=0x4 ecx=0x0 edx=0x0\n";
  EXPECT_EQ(good("CPU 0:\n" + line + line).cpus[0].table.look(7, 0).regs.ebx, 4u);
}

// Blanks for dashes or before the colon, a heading as cpuid's, AMD's leaves with sub-leaves.
TEST(CpuidDump, ReadsTheOldestInstLatFiles) {
  const CpuidDump old = good(
      "CPUID 00000000 : 00000001 746E6543 736C7561 48727561\nCPUID 00000001: 00000694 00000000 00000000 0380B13D\n");
  EXPECT_EQ(old.cpus[0].table.get(0, 0), (CpuidRegs{1, 0x746e6543, 0x736c7561, 0x48727561}));
  const CpuidDump headed = good(
      "CPU 0:\nCPUID 00000000: 00000016-756e6547-6c65746e-49656e69\nCPU 1:\n"
      "CPUID 00000000: 00000016-756e6547-6c65746e-49656e69\n");
  EXPECT_EQ(headed.cpus.size(), 2u);
  const CpuidDump amd = good(
      "CPUID 80000000 :8000001E-68747541-444D4163-69746E65\nCPUID 8000001D: 00000121-00C0003F-0000003F-00000000\n"
      "CPUID 8000001D: 00000122-00C0003F-000000FF-00000000 [SL 01]\n"
      "CPUID 8000001D: 00000143-01C0003F-000003FF-00000002\n");
  EXPECT_EQ(amd.cpus[0].table.get(0x8000'001d, 2).eax, 0x143u);
}

TEST(CpuidDump, ReadsWhatMailersMakeOfCpuid) {
  const CpuidDump dump = good(
      "Hello,\n> here it is:\n> CPU 0:\n"
      ">    0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e\n> edx=0x49656e69\n"
      "> > 0x00000007 0x00: eax=0x00000000\n> > ebx=0x029c67af ecx=0x00000000\n> > edx=0xbc002e00\n"
      "That is all.\n-- \nA. Sender\n");
  ASSERT_EQ(dump.cpus.size(), 1u);
  EXPECT_EQ(dump.cpus[0].table.get(0, 0).edx, 0x49656e69u);
  EXPECT_EQ(dump.cpus[0].table.get(7, 0).edx, 0xbc002e00u);
}

TEST(CpuidDump, ReadsXensFirstPolicy) {
  const CpuidDump dump = good(
      "Xen reports there are maximum 120 leaves and 2 MSRs\nRaw policy: 32 leaves, 2 MSRs\n CPUID:\n"
      "  leaf     subleaf  -> eax      ebx      ecx      edx\n"
      "  00000000:ffffffff -> 0000000d:756e6547:6c65746e:49656e69\n"
      "  00000007:00000000 -> 00000000:029c67af:00000000:bc002e00\n MSRs:\n  index    -> value\n"
      "  000000ce -> 0000000080000000\nHost policy: 30 leaves, 2 MSRs\n CPUID:\n"
      "  00000000:ffffffff -> 0000000d:756e6547:6c65746e:49656e69\n");
  ASSERT_EQ(dump.cpus.size(), 1u);
  EXPECT_EQ(dump.cpus[0].table.leaves().size(), 2u);
  EXPECT_EQ(dump.cpus[0].table.get(7, 0).ebx, 0x029c67afu);
}

TEST(CpuidDump, ReadsTestSgx) {
  const CpuidDump dump = good(
      "eax: 906ea ebx: 8100800 ecx: 7ffafbff edx: bfebfbff\nstepping 10\nmodel 14\n\n"
      "Extended feature bits (EAX=07H, ECX=0H)\neax: 0 ebx: 29c6fbf ecx: 40000000 edx: bc000600\nsgx available: 1\n\n"
      "CPUID Leaf 12H, Sub-Leaf 2 of Intel SGX Capabilities (EAX=12H,ECX=2)\n"
      "eax: 70200001 ebx: 0 ecx: 5f80001 edx: 0\n");
  ASSERT_EQ(dump.cpus.size(), 1u);
  EXPECT_EQ(dump.cpus[0].table.look(1, 0).regs.eax, 0x906eau);
  EXPECT_EQ(dump.cpus[0].table.look(7, 0).regs.ecx, 0x40000000u);
  EXPECT_EQ(dump.cpus[0].table.look(0x12, 2).regs.ecx, 0x5f80001u);
}

TEST(CpuidDump, ErrorsNameTheLineAndWhatWasExpected) {
  struct Case {
    const char* text;
    u32 line;
    const char *found, *expected;
  };
  const Case cases[] = {
      {"", 1, "an empty file", "cpuid -r"},
      {"hello\nworld\n", 1, "'hello'", "AIDA64"},
      {"\x1b[2J\n", 1, "'?[2J'", "AIDA64"},
      {"CPU 0:\n", 1, "no registers", "eax="},
      {"CPU 0:\n   0x00000000 0x00: eax=0x1 ebx=0x2 ecx=0x3\n", 2, "ecx=0x3'", "edx="},
      {"CPU 0:\n   0x00000000 0x00: eax=0x1 ebx=0x2 ecx=0x3 edx=0x4 5\n", 2, "edx=0x4 5'", "edx="},
      {"CPU 0:\n   0x000000000 0x00: eax=0x1 ebx=0x2 ecx=0x3 edx=0x4\n", 2, "0x000000000", "eax="},
      {"CPU 0:\n   0x0 0x0: eax=0x1 ebx=0x2\n   0x1 0x0: eax=0x1\n", 2, "0x1 0x0: eax=0x1'", "eax="},
      {"CPU 0:\n 0x1 0x0: eax=0x1 ebx=0x2 ecx=0x3 edx=0x4\n 0x1 0x0: eax=0x1 ebx=0x2 ecx=0x3 edx=0x5\n", 3,
       "leaf 0x1, sub-leaf 0x0 again", "once"},
      {"CPUID 00000000: 00000016-756E6547-6C65746E-49656E69\nCPUID 00000001: 000906EC-00100800-7FFAFBFF\n", 2,
       "7FFAFBFF'", "EAX-EBX-ECX-EDX"},
      {"CPUID 00000000: 00000016-756E6547-6C65746E-49656E69\nCPUID 00000001: 906EC-00100800-7FFAFBFF-BFEBFBFF\n", 2,
       "906EC-", "eight digits"},
      // A digit was lost, of a number with zeros before it or without; also where a mailer wrapped the line.
      {"CPU 0:\n 0x00000000 0x00: eax=0x0000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69\n", 2,
       "7 of a register's eight digits in '0x00000000 0x00: eax=0x0000016", "eight"},
      {"CPU 0:\n 0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69\n"
       " 0x00000007 0x00: eax=0x12345678\n ebx=0x29c67af ecx=0x40000000 edx=0xbc002e00\n",
       3, "7 of a register's eight digits in '0x00000007", "eight"},
      {"Raw policy: 2 leaves\n 00000000:ffffffff -> 00000016:756e6547:6c65746e:49656e69\n"
       " 00000007:00000000 -> 0000000:029c67af:00000000:bc002e00\n",
       3, "-> 0000000:", "EAX:EBX"},
      {"CPUID 00000000: 00000016-756E6547-6C65746E-49656E69\nCPUID 00000012: 1-1-1-1 [SL", 2, "[SL", "[SL NN]"},
      {"Raw policy: 1 leaves\n 00000000:ffffffff -> 00000016:756e6547:6c65746e:49656e69\n 00000001:ffffffff -> 1:2\n",
       3, "-> 1:2'", "EAX:EBX"},
  };
  for (const Case& c : cases) {
    const auto dump = read_cpuid_dump(c.text);
    ASSERT_FALSE(dump.has_value()) << c.text;
    EXPECT_EQ(dump.error().line, c.line) << c.text;
    EXPECT_THAT(dump.error().message, testing::AllOf(HasSubstr(c.found), HasSubstr(c.expected))) << c.text;
  }
}

TEST(CpuidDump, ProcessorsMustAgreeOnSgxAndOnNothingElse) {
  std::string text = tests::aida_dump;
  EXPECT_THAT(sgx_disagreements(good(text)), IsEmpty()) << "APIC IDs differ";
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    other.replace(other.rfind(from), from.size(), to);
    return sgx_disagreements(good(other));
  };
  EXPECT_THAT(changed("00000063-00000001", "00000003-00000001"), ElementsAre(1));
  EXPECT_THAT(changed("[SL 02]", "[SL 03]"), ElementsAre(1)) << "a section that only one has";
  EXPECT_THAT(changed("40405F4E", "00405F4E"), ElementsAre(1)) << "SGX_LC";
  EXPECT_THAT(changed("F2BF27EF", "F2BF27AF"), IsEmpty()) << "another bit of leaf 7";
}

TEST(CpuidDump, ReadsWhatOthersPublished) {
  struct Case {
    const char* name;
    std::size_t cpus;
    u32 signature;
  };
  const Case cases[] = {
      {"GenuineIntel00506E3_Skylake_CPUID.txt", 4, 0x506e3},
      {"GenuineIntel00606A6_ICX_CPUID2.txt", 112, 0x606a6},
      {"GenuineIntel00706E5_IceLakeY_CPUID.txt", 8, 0x706e5},
      {"GenuineIntel00806E9_Kabylake_CPUID2.txt", 4, 0x806e9},
      {"GenuineIntel00806F8_SapphireRapids_05_CPUID.txt", 40, 0x806f8},
      {"GenuineIntel00906EC_CoffeeLake_CPUID4.txt", 16, 0x906ec},
      {"xps13-9370-cpuid-raw.txt", 1, 0x806ea},
  };
  for (const Case& c : cases) {
    const auto text = tests::known_dump(c.name);
    if (!text) GTEST_SKIP() << "needs " << tests::known_dumps;
    const CpuidDump dump = good(*text);
    EXPECT_EQ(dump.cpus.size(), c.cpus) << c.name;
    EXPECT_EQ(dump.cpus[0].table.get(1, 0).eax, c.signature) << c.name;
    EXPECT_THAT(sgx_disagreements(dump), IsEmpty()) << c.name;
  }
}

}  // namespace
}  // namespace cloister::policy
