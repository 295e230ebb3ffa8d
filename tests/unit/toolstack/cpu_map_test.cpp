// libvirt's map of CPUs in each of its layouts, and everything that is none (libvirt's src/cpu_map and
// src/cpu/cpu_map.c).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <sstream>

#include "interop/cpu_map_xml.hpp"
#include "policy/cpu_model.hpp"
#include "policy/flags.hpp"
#include "policy/libvirt_features.hpp"
#include "policy/map_check.hpp"
#include "unit/toolstack/cpu_maps.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using policy::CpuMap;
using policy::MapBits;
using policy::MapFeature;
using policy::MapModel;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using tests::MapFolder;

tl::expected<CpuMap, MapError> read(const MapFolder& folder, const std::string& first = "index.xml") {
  return read_cpu_map(first, [&](const std::string& name) -> tl::expected<std::string, std::string> {
    const auto found = folder.find(name);
    if (found == folder.end()) return tl::unexpected(std::string("No such file or directory"));
    return found->second;
  });
}

CpuMap good(const MapFolder& folder, const std::string& first = "index.xml") {
  auto map = read(folder, first);
  EXPECT_TRUE(map) << format(map.error().file, map.error().diagnostic);
  return map.value_or(CpuMap{});
}

std::string error(const MapFolder& folder, const std::string& first = "index.xml") {
  const auto map = read(folder, first);
  EXPECT_FALSE(map);
  return map ? "" : format(map.error().file, map.error().diagnostic);
}

/// A file of features with this inside.
std::string error_in(const std::string& elements) {
  return error({{"f.xml", "<cpus>\n" + elements + "\n</cpus>\n"}}, "f.xml");
}

// ------------------------------------------------------------------------------------------------ layouts

TEST(CpuMapXml, FeaturesHaveBitsAliasesAndWhetherTheyMigrate) {
  const CpuMap map = good(tests::plain_map());
  ASSERT_EQ(map.features.size(), 6u);
  EXPECT_EQ(map.features[0], (MapFeature{.name = "pni", .aliases = {"sse3"}, .cpuid = MapBits{1, 0, {0, 0, 1, 0}}}));
  EXPECT_EQ(*map.find_feature("sgx"), (MapFeature{.name = "sgx", .cpuid = MapBits{7, 0, {0, 4, 0, 0}}}));
  EXPECT_EQ(map.find_feature("sgx-provisionkey")->cpuid, (MapBits{0x12, 1, {0x10, 0, 0, 0}}));
  EXPECT_EQ(*map.find_feature("invtsc"),
            (MapFeature{.name = "invtsc", .cpuid = MapBits{0x8000'0007, 0, {0, 0, 0, 0x100}}, .migratable = false}));
  EXPECT_EQ(*map.find_feature("rdctl-no"), (MapFeature{.name = "rdctl-no", .msr = 0x10a, .msr_bits = 1}));
  EXPECT_EQ(map.find_feature("sse3"), &map.features[0]);
}

TEST(CpuMapXml, ModelsAreMadeOfOthers) {
  const CpuMap map = good(tests::plain_map());
  ASSERT_EQ(map.models.size(), 2u);
  const MapModel& old = map.models[0];
  EXPECT_EQ(old.vendor, "Intel");
  EXPECT_THAT(old.signatures, ElementsAre(0x506e0u, 0xf60u));
  EXPECT_THAT(old.features, ElementsAre("pni")) << "vmx was removed";
  EXPECT_TRUE(old.for_host);
  EXPECT_FALSE(old.for_guest);

  const MapModel& next = map.models[1];
  EXPECT_EQ(next.name, "new");
  EXPECT_EQ(next.vendor, "Intel") << "the parent's";
  EXPECT_THAT(next.signatures, ElementsAre(0x50650u, 0x50651u, 0x50652u, 0x50655u, 0x800f10u)) << "its own alone";
  EXPECT_THAT(next.features, ElementsAre("pni", "invtsc")) << "each once, and sgx was added";
  EXPECT_FALSE(next.for_host);
  EXPECT_TRUE(next.for_guest);
}

TEST(CpuMapXml, GroupsAndVersionsOfModels) {
  const CpuMap map = good(tests::grouped_map());
  ASSERT_EQ(map.models.size(), 3u);
  const MapModel* const v2 = map.find_model("new-v2");
  ASSERT_NE(v2, nullptr);
  EXPECT_EQ(v2->vendor, "Intel");
  EXPECT_THAT(v2->signatures, ElementsAre(0xc06f0u));
  EXPECT_THAT(v2->features, ElementsAre("pni", "vmx"));
  EXPECT_FALSE(v2->for_guest);
}

TEST(CpuMapXml, OneFileForAll) {
  const CpuMap map = good(tests::single_map());
  ASSERT_EQ(map.features.size(), 1u);
  EXPECT_EQ(map.features[0].cpuid, (MapBits{1, 0, {0, 0, 1, 0}}));
  ASSERT_EQ(map.models.size(), 1u) << "not another architecture's";
  EXPECT_THAT(map.models[0].signatures, IsEmpty());
  EXPECT_TRUE(map.models[0].for_host && map.models[0].for_guest);
}

TEST(CpuMapXml, AFileOfFeaturesAlone) {
  EXPECT_EQ(good(tests::plain_map(), "x86_features.xml").features, good(tests::plain_map()).features);
}

TEST(CpuMapXml, AFeatureMayHaveBitsInSeveralLeaves) {
  const CpuMap map = good({{"f.xml",
                            "<cpus><feature name='two'><cpuid eax_in='1' ecx='0x20'/>"
                            "<cpuid eax_in='7' ecx_in='1' edx='2'/></feature></cpus>"}},
                          "f.xml");
  EXPECT_EQ(map.features[0].cpuid, (MapBits{1, 0, {0, 0, 0x20, 0}}));
  EXPECT_THAT(map.features[0].also, ElementsAre(MapBits{7, 1, {0, 0, 0, 2}}));
}

// libvirt 11 lists what QEMU's models have and its own never had as added: a Core i7-8700 with that counted was n270.
TEST(CpuMapXml, WhatIsAddedOrRemovedIsNotTheModels) {
  const CpuMap map = good({{"f.xml",
                            "<cpus><feature name='a'><cpuid eax_in='1' ecx='1'/></feature>"
                            "<feature name='b'><cpuid eax_in='1' ecx='2'/></feature>"
                            "<feature name='c'><msr index='0x480' eax='1' edx='0'/></feature>"
                            "<model name='m'><check partial='compat'/><feature name='a'/><feature name='b'/>"
                            "<feature name='c' added='yes'/></model>"
                            "<model name='m-v2'><model name='m'/><feature name='b' removed='yes'/></model>"
                            "<model name='m-v3'><model name='m-v2'/><feature name='c' added='no'/></model></cpus>"}},
                          "f.xml");
  EXPECT_THAT(map.find_model("m")->features, ElementsAre("a", "b"));
  EXPECT_THAT(map.find_model("m-v2")->features, ElementsAre("a", "b")) << "libvirt keeps what a parent gave it";
  EXPECT_THAT(map.find_model("m-v3")->features, ElementsAre("a", "c"));
  EXPECT_THAT(map.unread, IsEmpty());
}

TEST(CpuMapXml, WhatLaterVersionsAddIsPassedOverAndNamed) {
  MapFolder folder = tests::plain_map();
  folder["x86_old.xml"].insert(folder["x86_old.xml"].find("<decode"), "<news kind='x'><feature/></news><news/>");
  std::string& model = folder["x86_new.xml"];
  model.insert(model.find(" added='yes'"), " borrowed='yes'");
  CpuMap map = good(folder);
  EXPECT_THAT(map.unread, ElementsAre("x86_old.xml:3:5: <news>", "x86_new.xml:9:5: 'borrowed' of <feature>"));
  map.unread.clear();
  EXPECT_EQ(map, good(tests::plain_map()));
}

// ------------------------------------------------------------------------------------------------ includes

TEST(CpuMapXml, IncludesThatGoRoundEnd) {
  MapFolder folder = tests::plain_map();
  folder["x86_features.xml"].insert(folder["x86_features.xml"].find("</cpus>"),
                                    "<include filename='index.xml'/><include filename='./x86_features.xml'/>");
  EXPECT_EQ(good(folder), good(tests::plain_map()));
}

TEST(CpuMapXml, IncludesStayInTheFolder) {
  for (const char* name : {"../x.xml", "/etc/passwd", "a/../../x.xml", "", ".."}) {
    const std::string index =
        "<cpus>\n <arch name='x86'>\n  <include filename='" + std::string(name) + "'/></arch></cpus>";
    EXPECT_EQ(error({{"index.xml", index}, {"../x.xml", tests::map_features}, {"/etc/passwd", tests::map_features}}),
              "index.xml:3:3: 'filename': found '" + std::string(name) + "', expected a file of the map's folder");
  }
}

TEST(CpuMapXml, FileThatIsMissingIsNamedWhereItIsIncluded) {
  MapFolder folder = tests::plain_map();
  folder.erase("x86_new.xml");
  EXPECT_EQ(error(folder), "index.xml:8:5: cannot read 'x86_new.xml': No such file or directory");
  EXPECT_EQ(error({}), "index.xml: cannot read: No such file or directory");
}

TEST(CpuMapXml, ElementsInsideOfEachOtherEnd) {
  std::string deep;
  for (int i = 0; i < 20'000; ++i) deep += "<group>";
  for (int i = 0; i < 20'000; ++i) deep += "</group>";
  EXPECT_THAT(error_in(deep), testing::HasSubstr("found elements nested too deep"));
}

// ------------------------------------------------------------------------------------------------ errors

TEST(CpuMapXml, AnErrorStandsWhereItIs) {
  const std::pair<const char*, const char*> cases[] = {
      {"<feature><cpuid eax_in='1' ecx='1'/></feature>", "f.xml:2:1: found a <feature> without a name"},
      {" <feature name='x'/>", "f.xml:2:2: found feature 'x' without bits, expected <cpuid> or <msr>"},
      {"<feature name='x'><cpuid ecx='1'/></feature>",
       "f.xml:2:19: 'eax_in': found nothing, expected a number up to 0xffffffff"},
      {"<feature name='x'><cpuid eax_in='seven' ecx='1'/></feature>",
       "f.xml:2:19: 'eax_in': found 'seven', expected a number up to 0xffffffff"},
      {"<feature name='x'><cpuid eax_in='7' ecx='0x100000000'/></feature>",
       "f.xml:2:19: 'ecx': found '0x100000000', expected a number up to 0xffffffff"},
      {"<feature name='x'><cpuid eax_in='7'/></feature>",
       "f.xml:2:19: found no bit, expected one in 'eax', 'ebx', 'ecx' or 'edx'"},
      {"<feature name='x'><msr eax='1'/></feature>",
       "f.xml:2:19: 'index': found nothing, expected a number up to 0xffffffff"},
      {"<feature name='x'><alias source='qemu'/></feature>", "f.xml:2:19: found a <alias> without a name"},
      {"<feature name='x'><msr index='1'/></feature>\n<feature name='x'><msr index='2'/></feature>",
       "f.xml:3:1: found feature 'x' a second time"},
      {"<model/>", "f.xml:2:1: found a <model> without a name"},
      {"<model name='m'/><model name='m'/>", "f.xml:2:18: found model 'm' a second time"},
      {"<model name='m'><feature name='x'/></model>",
       "f.xml:2:17: found feature 'x', expected one that the map has defined before"},
      {"<model name='m'><model name='m'/></model>",
       "f.xml:2:17: found model 'm', expected one that the map has defined before"},
      {"<model name='m'><signature model='1'/></model>",
       "f.xml:2:17: 'family': found nothing, expected a number up to 0x10e"},
      {"<model name='m'><signature family='6' model='256'/></model>",
       "f.xml:2:17: 'model': found '256', expected a number up to 0xff"},
      {"<model name='m'><signature family='6' model='1' stepping='3-1'/></model>",
       "f.xml:2:17: 'stepping': found '3-1', expected steppings such as 0-4,7"},
      {"<model name='m'><signature family='6' model='1' stepping='16'/></model>",
       "f.xml:2:17: 'stepping': found '16', expected steppings such as 0-4,7"},
      {"<feature name='x'><msr index='1' eax='1' edx='0'/></feature><model name='m'><feature name='x' added='soon'/>"
       "</model>",
       "f.xml:2:77: 'added': found 'soon', expected 'yes' or 'no'"},
      {"", "f.xml: found no x86 <feature>, expected libvirt's map of CPUs"},
      {"<arch name='arm'><feature name='x'/></arch>", "f.xml: found no x86 <feature>, expected libvirt's map of CPUs"},
  };
  for (const auto& [elements, message] : cases) EXPECT_EQ(error_in(elements), message);
}

TEST(CpuMapXml, WhatIsNoXmlIsRefused) {
  EXPECT_THAT(error({{"index.xml", "[cpus]\n"}}), testing::HasSubstr(": this is no XML: "));
  EXPECT_THAT(error({{"index.xml", ""}}), testing::StartsWith("index.xml:"));
  EXPECT_THAT(error({{"index.xml", "<cpus>\n<arch name='x86'>\n</cpus>"}}), testing::StartsWith("index.xml:3:"));
}

TEST(CpuMapXml, MessagesArePrintable) {
  EXPECT_EQ(error_in("<model name='m'><feature name='&#x9b;2J'/></model>"),
            "f.xml:2:17: found feature '?2J', expected one that the map has defined before");
}

/// Any bytes give a map whose models have features that it knows, or one error.
TEST(CpuMapXml, SurvivesAnyBytes) {
  std::mt19937 random(5);
  for (const MapFolder* folder : {&tests::plain_map(), &tests::grouped_map(), &tests::single_map()}) {
    for (int round = 0; round < 400; ++round) {
      MapFolder changed = *folder;
      for (auto& [name, text] : changed) {
        if (random() % 2 == 0) continue;
        for (unsigned change = random() % 3 + 1; change > 0 && !text.empty(); --change) {
          const std::size_t at = random() % text.size();
          switch (random() % 3) {
            case 0: text[at] = static_cast<char>(random()); break;
            case 1: text.erase(at, random() % 20); break;
            case 2: text.insert(at, text.substr(random() % text.size(), random() % 40)); break;
          }
        }
      }
      const auto map = read(changed);
      if (!map) {
        EXPECT_FALSE(map.error().diagnostic.message.empty());
        continue;
      }
      EXPECT_FALSE(map->features.empty());
      for (const MapModel& model : map->models) {
        for (const std::string& feature : model.features) EXPECT_NE(map->find_feature(feature), nullptr) << feature;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------ files

TEST(CpuMapXml, IsLoadedFromAFolderOrAFile) {
  const tests::Folder folder;
  for (const auto& [name, text] : tests::plain_map()) folder.write(name, text);
  const auto map = load_cpu_map(folder.path());
  ASSERT_TRUE(map) << map.error();
  EXPECT_EQ(*map, good(tests::plain_map()));
  const auto by_index = load_cpu_map(folder.path("index.xml"));
  ASSERT_TRUE(by_index) << by_index.error();
  EXPECT_EQ(*by_index, *map);
  const auto features = load_cpu_map(folder.path("x86_features.xml"));
  ASSERT_TRUE(features) << features.error();
  EXPECT_EQ(features->features, map->features);

  EXPECT_EQ(load_cpu_map(folder.path("none")).error(),
            folder.path("none") + ": cannot read: No such file or directory");
  folder.write("x86_new.xml", "<cpus>\n  <model/></cpus>");
  EXPECT_EQ(load_cpu_map(folder.path()).error(), folder.path("x86_new.xml") + ":2:3: found a <model> without a name");
}

TEST(CpuMapXml, LibvirtsOwn) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  EXPECT_GT(map->features.size(), 200u);
  const MapModel* const skylake = map->find_model("Skylake-Client-IBRS");
  ASSERT_NE(skylake, nullptr);
  EXPECT_EQ(skylake->vendor, "Intel");
  EXPECT_NE(std::ranges::find(skylake->signatures, 0x506e0u), skylake->signatures.end());
  EXPECT_NE(std::ranges::find(skylake->features, "spec-ctrl"), skylake->features.end());

  // Older ones lack some of our flags; none has one at other bits or by another name.
  const policy::MapCheck check = policy::check_map(*map);
  EXPECT_GT(check.good, 190u);
  for (const auto* findings : {&check.sgx, &check.other}) {
    for (const policy::MapFinding& finding : *findings) EXPECT_EQ(finding.found, nullptr) << finding.expected.name;
  }
}

// A word of libvirt's is known without its map: each is one of a feature's, or in the table of the others, at its
// place.
TEST(CpuMapXml, EveryWordOfLibvirtsIsInATable) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  const CpuMap& more = policy::more_of_libvirts_features();
  for (const MapFeature& feature : map->features) {
    if (const policy::Feature* const ours = policy::feature_of(feature)) {
      EXPECT_EQ(policy::spelling(*ours, policy::Tool::libvirt), feature.name);
      continue;
    }
    const MapFeature* const other = more.find_feature(feature.name);
    ASSERT_NE(other, nullptr) << feature.name;
    EXPECT_EQ(other->msr, feature.msr) << feature.name;
    EXPECT_EQ(other->cpuid, feature.cpuid) << feature.name;
  }
}

// libvirt and QEMU have words for bits of MSRs, too: none is one of ours for a bit of CPUID.
TEST(CpuMapXml, WordsForMsrsAreNoWordsForCpuid) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  std::size_t msrs = 0;
  for (const MapFeature& feature : map->features) {
    if (feature.cpuid) continue;
    ++msrs;
    EXPECT_EQ(policy::find_feature(feature.name), nullptr) << feature.name;
  }
  EXPECT_GT(msrs, 5u);
}

// Words that QEMU lists are its words for our flags.
TEST(CpuMapXml, QemusWordsAreAsTheTableSays) {
  FILE* const qemu = ::popen("qemu-system-x86_64 -cpu help 2>/dev/null", "r");
  ASSERT_NE(qemu, nullptr);
  std::string text(1 << 16, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), qemu));
  const std::size_t flags = text.find("CPUID flags:");
  if (::pclose(qemu) != 0 || flags == text.npos) GTEST_SKIP() << "QEMU is not installed";
  std::istringstream words(text.substr(text.find('\n', flags)));
  std::size_t known = 0;
  for (std::string word; words >> word;) {
    const policy::Feature* const feature = policy::find_spelling(word, policy::Tool::qemu);
    if (feature == nullptr) continue;
    ++known;
    EXPECT_EQ(policy::spelling(*feature, policy::Tool::qemu), word);
  }
  EXPECT_GT(known, 150u);
}

}  // namespace
}  // namespace cloister::toolstack
