// SGX's features in the words of each tool (libvirt's x86_features.xml, QEMU's `-cpu help`, xen-cpuid, /proc/cpuinfo,
// cpuid), and what tables say of every feature.
#include "policy/flags.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "policy/dependence.hpp"
#include "policy/descriptions.hpp"
#include "policy/feature_rows.hpp"

namespace cloister::policy {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

const Feature& feature(std::string_view name) {
  const Feature* found = find_feature(name);
  EXPECT_NE(found, nullptr) << name;
  return *found;
}

/// A bit of an instruction set to come: neither its leaf nor its name is in any table.
constexpr Feature made_up{{0x99, 3, CpuidReg::ebx, 7}, "xyz-next"};

// ------------------------------------------------------------------------------------------------ SGX

TEST(SgxFlags, AreAllOfLeaf12HAndSgxsBitsOfLeaf7) {
  std::set<std::string_view> expected, told;
  for (const FeatureRow& row : feature_rows()) {
    if (row.name.starts_with("sgx")) expected.insert(row.name);
  }
  for (const SgxFlag& flag : sgx_flags()) told.insert(flag.name);
  EXPECT_EQ(told, expected);
  EXPECT_EQ(told.size(), sgx_flags().size());
}

TEST(SgxFlags, SayWhatTheyMeanAndWhatIsLostInOneSentenceEach) {
  for (const SgxFlag& flag : sgx_flags()) {
    for (const std::string_view sentence : {flag.meaning, flag.without}) {
      EXPECT_TRUE(sentence.ends_with(".")) << flag.name;
      EXPECT_EQ(sentence.find(". "), sentence.npos) << flag.name;
      EXPECT_EQ(sentence.find('|'), sentence.npos) << flag.name << ": would break the table of docs/flags.md";
    }
  }
}

// SDM vol. 3D, table 36-3: sub-leaf 0 EAX lists leaf functions, EBX MISCSELECT, sub-leaf 1 ATTRIBUTES.
TEST(SgxFlags, KindFollowsThePlace) {
  for (const SgxFlag& flag : sgx_flags()) {
    const Feature& f = feature(flag.name);
    const FlagKind kind = f.leaf == 7              ? FlagKind::processor
                          : f.subleaf == 1         ? FlagKind::attribute
                          : f.reg == CpuidReg::ebx ? FlagKind::exceptions
                                                   : FlagKind::instructions;
    EXPECT_EQ(flag.kind, kind) << flag.name;
  }
}

TEST(SgxFlags, EachToolHasItsOwnWord) {
  const SgxFlag& lc = *find_sgx_flag("sgxlc");
  EXPECT_EQ(lc.libvirt, "sgxlc");
  EXPECT_EQ(lc.qemu, "sgxlc");
  EXPECT_EQ(lc.xen, "sgx-lc");
  EXPECT_EQ(lc.cpuinfo, "sgx_lc");
  EXPECT_EQ(lc.cpuid, "SGX_LC: SGX launch config supported");
  EXPECT_EQ(find_sgx_flag("sgx_lc"), &lc) << "by another tool's name";
  EXPECT_EQ(find_sgx_flag("avx"), nullptr);
  EXPECT_EQ(find_sgx_flag("nonsense"), nullptr);

  const SgxFlag& tokens = *find_sgx_flag("sgx-tokenkey");
  EXPECT_EQ(tokens.libvirt, "sgx-tokenkey");
  EXPECT_EQ(tokens.qemu, "sgx-tokenkey");
  EXPECT_THAT(tokens.xen, IsEmpty());
  EXPECT_THAT(tokens.cpuinfo, IsEmpty());
  EXPECT_THAT(tokens.cpuid, IsEmpty());
}

// `qemu -cpu help` of QEMU 9: twelve words for SGX, and libvirt has the same.
TEST(SgxFlags, QemuAndLibvirtHaveTwelveWords) {
  std::vector<std::string_view> words;
  for (const SgxFlag& flag : sgx_flags()) {
    EXPECT_EQ(flag.qemu, flag.libvirt);
    if (!flag.qemu.empty()) words.push_back(flag.qemu);
  }
  EXPECT_THAT(words, testing::UnorderedElementsAre("sgx", "sgx-aex-notify", "sgx-debug", "sgx-edeccssa", "sgx-exinfo",
                                                   "sgx-kss", "sgx-mode64", "sgx-provisionkey", "sgx-tokenkey", "sgx1",
                                                   "sgx2", "sgxlc"));
}

// ------------------------------------------------------------------------------------------------ spellings

TEST(Spelling, IsTheToolsOwn) {
  struct Case {
    const char *name, *libvirt, *qemu, *xen, *cpuinfo;
  };
  const Case cases[] = {
      {"sse4.1", "sse4.1", "sse4.1", "sse4_1", "sse4_1"},
      {"tsc_adjust", "tsc_adjust", "tsc-adjust", "tsc_adjust", "tsc_adjust"},
      {"avx512-4vnniw", "avx512-4vnniw", "avx512-4vnniw", "avx512-4vnniw", "avx512_4vnniw"},
      {"pclmulqdq", "pclmuldq", "pclmulqdq", "pclmulqdq", "pclmulqdq"},
      {"sse3", "pni", "pni", "sse3", "pni"},
      {"lahf-lm", "lahf_lm", "lahf-lm", "lahfsahf", "lahf_lm"},
      {"cmt", "cmt", "", "cmt", "cqm"},
      {"sgx-keys", "", "", "", ""},
      {"npt", "npt", "npt", "svm_npt", "npt"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(spelling(feature(c.name), Tool::libvirt), c.libvirt) << c.name;
    EXPECT_EQ(spelling(feature(c.name), Tool::qemu), c.qemu) << c.name;
    EXPECT_EQ(spelling(feature(c.name), Tool::xen), c.xen) << c.name;
    EXPECT_EQ(spelling(feature(c.name), Tool::cpuinfo), c.cpuinfo) << c.name;
  }
}

TEST(Spelling, LeadsBackToItsFeature) {
  for (const FeatureRow& row : feature_rows()) {
    const Feature& f = feature(row.name);
    for (const Tool tool : tools) {
      const std::string_view word = spelling(f, tool);
      if (word.empty()) continue;
      const Feature* found = find_spelling(word, tool);
      ASSERT_NE(found, nullptr) << word;
      EXPECT_EQ(found->name, row.name) << word;
      // Whatever tool is asked, a word that only another one has is understood.
      for (const Tool other : tools) EXPECT_NE(find_spelling(word, other), nullptr) << word;
    }
  }
}

TEST(Spelling, OfQemuMayHaveUnderscores) {
  EXPECT_EQ(find_spelling("sgx_provisionkey", Tool::qemu)->name, "sgx-provisionkey");
  EXPECT_EQ(find_spelling("tsc_adjust", Tool::qemu)->name, "tsc_adjust");
  EXPECT_EQ(find_spelling("sgx_provisionkey", Tool::libvirt), nullptr);
}

TEST(Spelling, OfNothingIsNothing) {
  for (const Tool tool : tools) {
    EXPECT_EQ(find_spelling("", tool), nullptr);
    EXPECT_EQ(find_spelling("no-such-flag", tool), nullptr);
  }
}

TEST(Spelling, AWordMeansOneBit) {
  for (const Tool tool : tools) {
    std::set<std::string_view> words;
    for (const FeatureRow& row : feature_rows()) {
      const std::string_view word = spelling(feature(row.name), tool);
      if (word.empty()) continue;
      EXPECT_TRUE(words.insert(word).second) << name_of(tool) << ": " << word;
    }
  }
}

// ------------------------------------------------------------------------------------------------ places

TEST(Place, NamesTheSubleafWhereThereIsOne) {
  EXPECT_EQ(place_of(feature("sgx-provisionkey")), "leaf 0x12, sub-leaf 1, EAX bit 4");
  EXPECT_EQ(place_of(feature("sgx")), "leaf 0x7, sub-leaf 0, EBX bit 2");
  EXPECT_EQ(place_of(feature("vmx")), "leaf 0x1, ECX bit 5");
  EXPECT_EQ(place_of(feature("nx")), "leaf 0x80000001, EDX bit 20");
}

// libvirt's x86_features.xml.
TEST(LibvirtElement, IsWrittenAsLibvirtWritesIt) {
  EXPECT_EQ(libvirt_element(feature("sgx-provisionkey")),
            "  <feature name='sgx-provisionkey'>\n"
            "    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000010'/>\n"
            "  </feature>\n");
  EXPECT_EQ(libvirt_element(feature("vmx")),
            "  <feature name='vmx'>\n"
            "    <cpuid eax_in='0x01' ecx='0x00000020'/>\n"
            "  </feature>\n");
  EXPECT_EQ(libvirt_element(feature("sse3")),
            "  <feature name='pni'>\n"
            "    <cpuid eax_in='0x01' ecx='0x00000001'/>\n"
            "  </feature>\n");
  EXPECT_EQ(libvirt_element(feature("syscall")),
            "  <feature name='syscall'>\n"
            "    <cpuid eax_in='0x80000001' edx='0x00000800'/>\n"
            "  </feature>\n");
}

// ------------------------------------------------------------------------------------------------ other tables

TEST(Requirements, AreTheDirectOnes) {
  EXPECT_THAT(requirements(feature("sgx-provisionkey")), ElementsAre("sgx1"));
  EXPECT_THAT(requirements(feature("sgx1")), ElementsAre("sgx"));
  EXPECT_THAT(requirements(feature("sgx_lc")), ElementsAre("sgx"));
  EXPECT_THAT(requirements(feature("avx")), ElementsAre("xsave", "sse2"));
  EXPECT_THAT(requirements(feature("fpu")), IsEmpty());
}

TEST(Requirements, AreFirstNames) {
  for (const Dependence& dependence : dependences()) {
    for (const std::string_view name : {dependence.feature, dependence.needs}) {
      const FeatureRow* row = row_of(feature(name));
      ASSERT_NE(row, nullptr) << name;
      EXPECT_EQ(row->name, name);
    }
  }
}

// SGX2 came with Gemini Lake and Ice Lake, EDECCSSA and AEX-Notify with Sapphire Rapids.
TEST(Processors, AreThoseWhoseLeavesHaveIt) {
  EXPECT_EQ(processors_with(feature("sgx1")).size(), descriptions().size());
  EXPECT_THAT(processors_with(feature("sgx2")),
              ElementsAre("gemini-lake", "icelake-client", "icelake-server", "sapphire-rapids"));
  EXPECT_THAT(processors_with(feature("sgx-aex-notify")), ElementsAre("sapphire-rapids"));
  EXPECT_THAT(processors_with(feature("sgxlc")), Not(Contains("skylake-client")));
  EXPECT_THAT(processors_with(feature("svm")), IsEmpty());
}

TEST(NewFeature, NeedsNoCode) {
  EXPECT_EQ(place_of(made_up), "leaf 0x99, sub-leaf 3, EBX bit 7");
  EXPECT_EQ(libvirt_element(made_up),
            "  <feature name='xyz-next'>\n"
            "    <cpuid eax_in='0x99' ecx_in='0x03' ebx='0x00000080'/>\n"
            "  </feature>\n");
  EXPECT_THAT(requirements(made_up), IsEmpty());
  EXPECT_THAT(processors_with(made_up), IsEmpty());
  for (const Tool tool : tools) EXPECT_THAT(spelling(made_up, tool), IsEmpty());
}

}  // namespace
}  // namespace cloister::policy
