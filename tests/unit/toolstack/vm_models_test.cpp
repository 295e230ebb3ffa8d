// The models that stand for described silicon, held against the map of CPUs that libvirt installs.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "interop/cpu_map_xml.hpp"
#include "interop/vm/models.hpp"
#include "policy/descriptions.hpp"

namespace cloister::toolstack::vm {
namespace {

/// Leaves that descriptions tell.
bool is_described(const policy::MapBits& bits) {
  constexpr std::pair<u32, u32> leaves[] = {{1, 0}, {7, 0}, {0xd, 1}, {0x8000'0001, 0}};
  return std::ranges::find(leaves, std::pair(bits.leaf, bits.subleaf)) != std::end(leaves);
}

TEST(Models, HaveNothingThatTheSiliconHasNot) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt's cpu_map is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  for (const policy::Description& description : policy::descriptions()) {
    SCOPED_TRACE(description.name);
    const ModelRow* const row = row_of_silicon(description.name);
    ASSERT_NE(row, nullptr);
    const policy::MapModel* const model = map->find_model(row->model);
    ASSERT_NE(model, nullptr) << row->model;
    const policy::CpuidTable leaves = policy::leaves_of(description);
    std::set<std::string> lacks;
    for (const std::string& name : model->features) {
      const policy::MapFeature* const feature = map->find_feature(name);
      if (feature != nullptr && feature->cpuid && is_described(*feature->cpuid) && !policy::has(leaves, *feature))
        lacks.insert(name);
    }
    const std::vector<std::string> said = words_of(row->lacks);
    for (const std::string& name : lacks) EXPECT_EQ(std::ranges::count(said, name), 1) << name;
    // Later versions of libvirt may have taken it out of the model.
    for (const std::string& name : said) {
      const policy::MapFeature* const feature = map->find_feature(name);
      ASSERT_NE(feature, nullptr) << name;
      EXPECT_FALSE(policy::has(leaves, *feature)) << name;
    }
  }
}

// A row that is for reading only says what the model is without: it is in the silicon, and not in the model.
TEST(Models, AreWithoutWhatTheRowsSay) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt's cpu_map is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  for (const ModelRow& row : model_rows()) {
    const policy::MapModel* const model = map->find_model(row.model);
    for (const std::string& name : words_of(row.without)) {
      ASSERT_NE(model, nullptr) << row.model;
      EXPECT_EQ(std::ranges::count(model->features, name), 0) << row.model << " has " << name;
      const policy::MapFeature* const feature = map->find_feature(name);
      ASSERT_NE(feature, nullptr) << name;
      EXPECT_TRUE(policy::has(policy::leaves_of(*policy::find_description(row.silicon)), *feature)) << name;
    }
  }
}

}  // namespace
}  // namespace cloister::toolstack::vm
