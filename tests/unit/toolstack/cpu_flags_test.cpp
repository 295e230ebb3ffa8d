// `cloister cpu explain` and `cloister cpu map` as a person runs them (docs/cpu-flags.md).
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "interop/cpu_map_xml.hpp"
#include "policy/feature_rows.hpp"
#include "unit/toolstack/cpu_maps.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using tests::Ran;

Ran explain(const std::string& what) { return tests::run_cloister({"cpu", "explain", what}); }
nlohmann::json explain_json(const std::string& what) {
  return nlohmann::json::parse(tests::run_cloister({"cpu", "explain", "--json", what}).out);
}

// ------------------------------------------------------------------------------------------------ explain

TEST(CpuExplain, ShowsPlaceMeaningAndEverySpelling) {
  const Ran ran = explain("sgx-provisionkey");
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.err, IsEmpty());
  EXPECT_THAT(
      ran.out,
      AllOf(StartsWith("flag           sgx-provisionkey\n"
                       "place          leaf 0x12, sub-leaf 1, EAX bit 4: 2^4 = 0x10\n"
                       "kind           attribute: "),
            HasSubstr("no instruction\n"), HasSubstr("\nmeaning        An enclave may have the provisioning key"),
            HasSubstr("\nwithout it     "), HasSubstr("\nrequires       sgx1\n"),
            HasSubstr("\nsilicon        skylake-client, "), HasSubstr("\nlibvirt        sgx-provisionkey\n"),
            HasSubstr("\nQEMU           sgx-provisionkey\n"), HasSubstr("\nXen            -\n"),
            HasSubstr("\n/proc/cpuinfo  -\n"), HasSubstr("\ncpuid          -\n"),
            HasSubstr("\n\n  <feature name='sgx-provisionkey'>\n"
                      "    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000010'/>\n"
                      "  </feature>\n")));
}

TEST(CpuExplain, TakesBitsForNames) {
  EXPECT_EQ(explain("0x12.1.eax[4]").out, explain("sgx-provisionkey").out);
  EXPECT_EQ(explain("CPUID.12H.1:EAX[4]").out, explain("sgx-provisionkey").out);
  EXPECT_EQ(explain("7.0.ebx[2]").out, explain("sgx").out);
  EXPECT_THAT(explain("sgx").out, HasSubstr("EBX bit 2: 2^2 = 0x4\n"));
  // The manual's, with the inputs in brackets, and those of QEMU's warnings up to version 8, which have no sub-leaf,
  // and since.
  for (const char* notation :
       {"CPUID.(EAX=12H,ECX=1H):EAX[4]", "CPUID.(EAX=12H, ECX=1):EAX.PROVISIONKEY[bit 4]", "CPUID.12H.1H:EAX[bit 4]",
        "CPUID.12H:EAX.sgx-provisionkey [bit 4]", "CPUID[eax=12h,ecx=01h].EAX.sgx-provisionkey [bit 4]"})
    EXPECT_EQ(explain(notation).out, explain("sgx-provisionkey").out) << notation;
  EXPECT_EQ(explain("CPUID.07H:EBX.sgx [bit 2]").out, explain("sgx").out);
  EXPECT_EQ(explain("CPUID.(EAX=07H,ECX=0H):EBX.SGX[bit 2]").out, explain("sgx").out);
  EXPECT_EQ(explain("CPUID.12H:EAX.sgx2 [bit 1]").out, explain("sgx2").out);
  for (const char* wrong : {"CPUID.(EAX=12H:EAX[4]", "CPUID.(ECX=1):EAX[4]", "CPUID[4]", "()[1]"})
    EXPECT_EQ(explain(wrong).status, 2) << wrong;
}

// libvirt 9 has neither; the words are known all the same.
TEST(CpuExplain, KnowsWhatLaterMapsHave) {
  EXPECT_THAT(explain("its-no").out, HasSubstr("MSR 0x10a"));
  EXPECT_THAT(explain("apxf").out, HasSubstr("sub-leaf 1, EDX 0x00200000"));
  EXPECT_THAT(explain("apxf").out, HasSubstr("a libvirt that is not installed here"));
  EXPECT_EQ(explain("7.1.edx[21]").out, explain("apxf").out);
}

TEST(CpuExplain, TakesEveryToolsWord) {
  const std::string expected = explain("sgxlc").out;
  for (const char* word : {"sgx-lc", "sgx_lc", "SGX_LC", "SGX_LC: SGX launch config supported"}) {
    EXPECT_EQ(explain(word).out, expected) << word;
  }
  EXPECT_EQ(explain("sgx_provisionkey").out, explain("sgx-provisionkey").out) << "QEMU takes '_' for '-'";
}

TEST(CpuExplain, OfOtherFlagsThereIsThePlaceAndTheSpellings) {
  const Ran ran = explain("sse4_1");
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, AllOf(StartsWith("flag           sse4.1\n"), HasSubstr("leaf 0x1, ECX bit 19: 2^19 = 0x80000\n"),
                             HasSubstr("\n/proc/cpuinfo  sse4_1\n"), HasSubstr("\nrequires       ssse3\n"),
                             Not(HasSubstr("meaning")), Not(HasSubstr("\ncpuid "))));
  EXPECT_THAT(explain("sgx-keys").out, Not(HasSubstr("<feature"))) << "libvirt has no word for it";
}

TEST(CpuExplain, UnknownNameIsStatus2WithTheNearestOne) {
  const Ran ran = explain("sgx-provisionkye");
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.err, "unknown CPU flag 'sgx-provisionkye', did you mean 'sgx-provisionkey'?\n");
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_EQ(explain("\x1b[2Jx]").status, 2);
  EXPECT_EQ(explain("qqqqqqqqqqqq\x1b").err, "unknown CPU flag 'qqqqqqqqqqqq?'\n");
}

TEST(CpuExplain, WhatIsNoBitIsStatus2WithWhatIsExpected) {
  const Ran ran = explain("7.0.ebx[32]");
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.err,
            "'7.0.ebx[32]': expected a bit such as 7.0.ebx[2] or 0x12.1.eax[4]: leaf, sub-leaf, register, and a bit up "
            "to 31\n");
  EXPECT_THAT(ran.out, IsEmpty());
}

TEST(CpuExplain, BitThatNobodyNamesIsStatus3) {
  const Ran ran = explain("0x99.3.ebx[7]");
  EXPECT_EQ(ran.status, 3);
  EXPECT_EQ(ran.out, "leaf 0x99, sub-leaf 3, EBX bit 7: 2^7 = 0x80: no tool names this bit\n");
  EXPECT_TRUE(explain_json("0x99.3.ebx[7]")["name"].is_null());
  // As the manual writes it, but without its H.
  EXPECT_THAT(explain("12.1.eax[4]").out, HasSubstr("\n0x12.1.eax[4] is sgx-provisionkey\n"));
}

TEST(CpuExplain, JsonSaysTheSame) {
  const auto flag = explain_json("sgx-provisionkey");
  EXPECT_EQ(flag["name"], "sgx-provisionkey");
  EXPECT_EQ(flag["place"],
            (nlohmann::json{{"leaf", "0x12"}, {"subleaf", 1}, {"register", "eax"}, {"bit", 4}, {"mask", "0x10"}}));
  EXPECT_EQ(flag["kind"], "attribute");
  EXPECT_EQ(flag["requires"], nlohmann::json{"sgx1"});
  EXPECT_EQ(flag["spellings"]["qemu"], "sgx-provisionkey");
  EXPECT_TRUE(flag["spellings"]["xen"].is_null());
  EXPECT_THAT(flag["libvirt_element"].get<std::string>(), HasSubstr("ecx_in='0x01'"));
  EXPECT_TRUE(explain_json("avx")["kind"].is_null());
}

TEST(CpuExplain, WhatOnlyLibvirtsMapKnowsIsLookedUpThere) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt is not installed";
  const Ran ran = explain("osxsave");
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("leaf 0x1, ECX 0x08000000"), HasSubstr(libvirt_cpu_map_folder)));
  EXPECT_EQ(explain("1.ecx[27]").out, ran.out);
  EXPECT_THAT(explain("rdctl-no").out, HasSubstr("MSR 0x10a"));
  EXPECT_EQ(explain_json("osxsave")["places"], nlohmann::json{"leaf 0x1, ECX 0x08000000"});
}

// ------------------------------------------------------------------------------------------------ map

Ran map_of(const std::string& path) { return tests::run_cloister({"cpu", "map", "--libvirt", path}); }

// The document's conclusion: what has to be added to x86_features.xml.
constexpr const char* documents_entries = R"(  <!-- SGX features -->
  <feature name='sgx'>
    <cpuid eax_in='0x07' ecx_in='0x00' ebx='0x00000004'/>
  </feature>
  <feature name='sgxlc'>
    <cpuid eax_in='0x07' ecx_in='0x00' ecx='0x40000000'/>
  </feature>
  <feature name='sgx1'>
    <cpuid eax_in='0x12' ecx_in='0x00' eax='0x00000001'/>
  </feature>
  <feature name='sgx-debug'>
    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000002'/>
  </feature>
  <feature name='sgx-mode64'>
    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000004'/>
  </feature>
  <feature name='sgx-provisionkey'>
    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000010'/>
  </feature>
  <feature name='sgx-tokenkey'>
    <cpuid eax_in='0x12' ecx_in='0x01' eax='0x00000020'/>
  </feature>
)";

/// The output's SGX part, without the features that the document does not speak of.
std::string as_in_the_document(const std::string& out) {
  static const std::regex others("  <feature name='sgx(2|-edeccssa|-exinfo|-kss|-aex-notify)'>\n.*\n  </feature>\n");
  return std::regex_replace(out.substr(0, out.find("  <!-- other features -->")), others, "");
}

/// The file with elements at its end.
std::string with(std::string features, const std::string& elements) {
  return features.insert(features.rfind("</cpus>"), elements);
}

TEST(CpuMap, ReportsTheDocumentsEntriesToTheLetter) {
  const std::string path = std::string(libvirt_cpu_map_folder) + "/x86_features.xml";
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << path << " is not installed";
  const std::string installed{std::istreambuf_iterator<char>(file), {}};
  static const std::regex sgx("  <feature name='sgx[^']*'>\n.*\n  </feature>\n");
  const std::string without = std::regex_replace(installed, sgx, "");
  ASSERT_LT(without.size(), installed.size());
  ASSERT_THAT(without, Not(HasSubstr("'sgx")));

  const tests::Folder folder;
  const Ran ran = map_of(folder.write("x86_features.xml", without));
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.err, IsEmpty());
  EXPECT_EQ(as_in_the_document(ran.out), documents_entries);

  // What is printed is what makes the file whole.
  const Ran whole = map_of(folder.write("x86_features.xml", with(without, ran.out)));
  EXPECT_EQ(whole.status, 0) << whole.out;
  EXPECT_THAT(whole.out, HasSubstr(": 0 missing, 0 wrong, "));
}

TEST(CpuMap, ReportsTheDocumentsEntriesForAMapWithoutSgx) {
  const tests::Folder folder;
  const std::string file =
      "<cpus>\n  <feature name='vmx'>\n    <cpuid eax_in='0x01' ecx='0x00000020'/>\n  </feature>\n</cpus>\n";
  const Ran ran = map_of(folder.write("x86_features.xml", file));
  EXPECT_EQ(ran.status, 1);
  EXPECT_EQ(as_in_the_document(ran.out), documents_entries);
  EXPECT_THAT(ran.out, Not(HasSubstr("name='vmx'")));
  EXPECT_EQ(map_of(folder.write("x86_features.xml", with(file, ran.out))).status, 0);
}

TEST(CpuMap, ShowsWhatIsWrongAndWhatItShouldBe) {
  const tests::Folder folder;
  // As in the document: the register's value instead of the bit; and a bit that is another one's.
  const Ran ran = map_of(folder.write("f.xml",
                                      "<cpus>\n"
                                      "  <feature name='sgx'><cpuid eax_in='0x07' ebx='0x029c6fbf'/></feature>\n"
                                      "  <feature name='sgx_lc'><cpuid eax_in='0x07' ecx='0x40000000'/></feature>\n"
                                      "</cpus>\n"));
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out, StartsWith("  <!-- SGX features -->\n"
                                  "  <!-- instead of 'sgx', which is at leaf 0x7, sub-leaf 0, EBX 0x029c6fbf -->\n"
                                  "  <feature name='sgx'>\n"
                                  "    <cpuid eax_in='0x07' ecx_in='0x00' ebx='0x00000004'/>\n"
                                  "  </feature>\n"
                                  "  <!-- instead of 'sgx_lc', which is at leaf 0x7, sub-leaf 0, ECX 0x40000000 -->\n"
                                  "  <feature name='sgxlc'>\n"));
  EXPECT_THAT(ran.out, HasSubstr(" missing, 2 wrong, 0 as expected -->\n"));
}

TEST(CpuMap, JsonSaysTheSame) {
  const tests::Folder folder;
  for (const auto& [name, text] : tests::plain_map()) folder.write(name, text);
  const Ran ran = tests::run_cloister({"cpu", "map", "--json", "--libvirt", folder.path()});
  EXPECT_EQ(ran.status, 1);
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["map"], folder.path());
  EXPECT_EQ(json["good"], 5);
  EXPECT_THAT(json["wrong"], IsEmpty());
  EXPECT_EQ(json["missing"].size() + 5,
            std::ranges::count_if(policy::feature_rows(),
                                  [](const policy::FeatureRow& row) { return !row.libvirt.empty(); }));
  const auto found =
      std::ranges::find_if(json["missing"], [](const auto& missing) { return missing["name"] == "sgx-tokenkey"; });
  ASSERT_NE(found, json["missing"].end());
  EXPECT_EQ((*found)["place"], "leaf 0x12, sub-leaf 1, EAX bit 5");
  EXPECT_EQ((*found)["sgx"], true);
  EXPECT_THAT((*found)["element"].get<std::string>(), HasSubstr("eax='0x00000020'"));
}

TEST(CpuMap, MapThatCannotBeReadIsStatus2WithItsPlace) {
  const tests::Folder folder;
  EXPECT_EQ(map_of(folder.path("none.xml")).status, 2);
  const std::string file = folder.write("f.xml", "<cpus>\n  <feature name='x'/>\n</cpus>\n");
  const Ran ran = map_of(file);
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.err, file + ":2:3: found feature 'x' without bits, expected <cpuid> or <msr>\n");
  EXPECT_THAT(ran.out, IsEmpty());
}

TEST(CpuMap, OfThisHostIsTheDefault) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt is not installed";
  EXPECT_EQ(tests::run_cloister({"cpu", "map"}).out, map_of(libvirt_cpu_map_folder).out);
}

}  // namespace
}  // namespace cloister::toolstack
