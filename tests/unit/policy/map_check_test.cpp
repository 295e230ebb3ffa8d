// A map of libvirt's against our table.
#include "policy/map_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/feature_rows.hpp"
#include "policy/flags.hpp"

namespace cloister::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A map that has what the table says that libvirt has.
CpuMap full_map() {
  CpuMap map;
  for (const FeatureRow& row : feature_rows()) {
    if (row.libvirt.empty()) continue;
    MapFeature feature;
    feature.name = row.libvirt;
    feature.cpuid = MapBits{row.leaf, row.subleaf, {}};
    arch::value_of(feature.cpuid->mask, row.reg) = u32{1} << row.bit;
    map.features.push_back(feature);
  }
  return map;
}

MapFeature& feature(CpuMap& map, std::string_view name) {
  const auto found = std::ranges::find(map.features, name, &MapFeature::name);
  EXPECT_NE(found, map.features.end()) << name;
  return *found;
}

void remove(CpuMap& map, std::string_view name) {
  std::erase_if(map.features, [&](const MapFeature& f) { return f.name == name; });
}

std::vector<std::string_view> names(const std::vector<MapFinding>& findings) {
  std::vector<std::string_view> names;
  for (const MapFinding& finding : findings) names.push_back(finding.expected.name);
  return names;
}

TEST(MapCheck, FindsNothingInAMapThatHasAll) {
  const CpuMap map = full_map();
  const MapCheck check = check_map(map);
  EXPECT_TRUE(check.complete());
  EXPECT_EQ(check.good, map.features.size());
}

TEST(MapCheck, TellsSgxFromTheRestInTheTablesOrder) {
  CpuMap map = full_map();
  for (const char* name : {"sgx-kss", "sgx", "avx", "sgxlc", "vmx"}) remove(map, name);
  const MapCheck check = check_map(map);
  EXPECT_THAT(names(check.sgx), ElementsAre("sgx", "sgxlc", "sgx-kss"));
  EXPECT_THAT(names(check.other), ElementsAre("vmx", "avx"));
  EXPECT_EQ(check.good, map.features.size());
  for (const MapFinding& finding : check.sgx) EXPECT_EQ(finding.found, nullptr);
  EXPECT_EQ(check.sgx[0].element, libvirt_element(*find_feature("sgx")));
}

TEST(MapCheck, ShowsWhatIsAtOtherBits) {
  CpuMap map = full_map();
  // The document's first try: the register's whole value instead of the feature's bit.
  feature(map, "sgx").cpuid->mask.ebx = 0x029c6fbf;
  feature(map, "sgx-debug").cpuid->subleaf = 0;
  feature(map, "sgx1").cpuid.reset();
  feature(map, "sgx1").msr = 0x3a;
  feature(map, "sgx2").also = {{1, 0, {0, 0, 1, 0}}};
  const MapCheck check = check_map(map);
  EXPECT_THAT(names(check.sgx), ElementsAre("sgx", "sgx1", "sgx2", "sgx-debug"));
  for (const MapFinding& finding : check.sgx) EXPECT_EQ(finding.found, map.find_feature(finding.expected.name));
  EXPECT_THAT(check.other, IsEmpty());
}

TEST(MapCheck, ShowsAnotherNameOfTheSameBits) {
  CpuMap map = full_map();
  feature(map, "sgxlc").name = "sgx_lc";
  const MapCheck check = check_map(map);
  ASSERT_THAT(names(check.sgx), ElementsAre("sgxlc"));
  ASSERT_NE(check.sgx[0].found, nullptr);
  EXPECT_EQ(check.sgx[0].found->name, "sgx_lc");
}

TEST(MapCheck, WritesBitsForAPerson) {
  EXPECT_EQ(text_of(MapBits{0x12, 1, {0x10, 0, 0, 0}}), "leaf 0x12, sub-leaf 1, EAX 0x00000010");
  EXPECT_EQ(text_of(MapBits{1, 0, {0, 0, 0x20, 1}}), "leaf 0x1, ECX 0x00000020, EDX 0x00000001");
}

// libvirt's cpuidSet() asks for one sub-leaf of a leaf, but for those that it knows to have more.
TEST(MapCheck, LibvirtReadsEveryLeafThatItHasWordsFor) {
  constexpr u32 with_subleaves[] = {0x4, 0x7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17};
  for (const FeatureRow& row : feature_rows()) {
    if (row.libvirt.empty() || row.subleaf == 0) continue;
    EXPECT_NE(std::ranges::find(with_subleaves, row.leaf), std::end(with_subleaves)) << row.name;
  }
}

// Guests with an invariant TSC stay where they are; libvirt's map says so.
TEST(MapCheck, ElementsOfWhatCannotMigrateSaySo) {
  EXPECT_EQ(libvirt_element(*find_feature("invtsc")),
            "  <feature name='invtsc' migratable='no'>\n"
            "    <cpuid eax_in='0x80000007' edx='0x00000100'/>\n"
            "  </feature>\n");
}

// ------------------------------------------------------------------------------------------------ the map

TEST(CpuMap, HasAFeatureWhenAllItsBitsAreSet) {
  MapFeature two;
  two.cpuid = MapBits{7, 0, {0, 5, 0, 0}};
  CpuidTable table;
  table.set(0, 0, {0x12, 0, 0, 0});
  table.set(7, 0, {0, 4, 0, 0});
  EXPECT_FALSE(has(table, two));
  table.set(7, 0, {0, 7, 0, 0});
  EXPECT_TRUE(has(table, two));
  two.also = {{0x12, 1, {4, 0, 0, 0}}};
  EXPECT_FALSE(has(table, two));
  table.set(0x12, 1, {4, 0, 0, 0});
  EXPECT_TRUE(has(table, two));
  MapFeature msr;
  msr.msr = 0x10a;
  EXPECT_FALSE(has(table, msr));
}

TEST(CpuMap, FindsByNameBeforeAlias) {
  CpuMap map;
  map.features = {{.name = "pni", .aliases = {"sse3"}}, {.name = "sse3"}};
  EXPECT_EQ(map.find_feature("sse3"), &map.features[1]);
  map.features.pop_back();
  EXPECT_EQ(map.find_feature("sse3"), &map.features[0]);
  EXPECT_EQ(map.find_feature("sse4"), nullptr);
  EXPECT_EQ(map.find_model("486"), nullptr);
}

}  // namespace
}  // namespace cloister::policy
