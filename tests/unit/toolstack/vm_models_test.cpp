// The models that stand for described silicon, held against the map of CPUs that libvirt installs.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <tuple>

#include "interop/cpu_map_xml.hpp"
#include "interop/vm/models.hpp"
#include "policy/descriptions.hpp"
#include "policy/libvirt_models.hpp"
#include "text/split.hpp"

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
    const std::vector<std::string> said = text::split<std::string>(row->lacks, ' ');
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
    for (const std::string& name : text::split<std::string>(row.without, ' ')) {
      ASSERT_NE(model, nullptr) << row.model;
      EXPECT_EQ(std::ranges::count(model->features, name), 0) << row.model << " has " << name;
      const policy::MapFeature* const feature = map->find_feature(name);
      ASSERT_NE(feature, nullptr) << name;
      EXPECT_TRUE(policy::has(policy::leaves_of(*policy::find_description(row.silicon)), *feature)) << name;
    }
  }
}

/// A map's features of a model, as words that LibvirtModel has.
std::array<u32, 8> words_of_model(const policy::CpuMap& map, const policy::MapModel& model) {
  constexpr std::tuple<u32, u32, policy::CpuidReg> places[] = {
      {1, 0, policy::CpuidReg::ecx},           {1, 0, policy::CpuidReg::edx},          {7, 0, policy::CpuidReg::ebx},
      {7, 0, policy::CpuidReg::ecx},           {7, 0, policy::CpuidReg::edx},          {0xd, 1, policy::CpuidReg::eax},
      {0x8000'0001, 0, policy::CpuidReg::ecx}, {0x8000'0001, 0, policy::CpuidReg::edx}};
  std::array<u32, 8> words{};
  for (const std::string& name : model.features) {
    const policy::MapFeature* const feature = map.find_feature(name);
    if (feature == nullptr || !feature->cpuid) continue;
    for (std::size_t i = 0; i < words.size(); ++i) {
      const auto& [leaf, subleaf, reg] = places[i];
      if (feature->cpuid->leaf == leaf && feature->cpuid->subleaf == subleaf)
        words[i] |= arch::value_of(feature->cpuid->mask, reg);
    }
  }
  return words;
}

// Maps up to libvirt 9.1 have MPX in models, which QEMU took out of its own.
TEST(LibvirtModels, AreThoseOfTheMapThatIsInstalled) {
  if (!std::filesystem::exists(libvirt_cpu_map_folder)) GTEST_SKIP() << "libvirt's cpu_map is not installed";
  const auto map = load_cpu_map(libvirt_cpu_map_folder);
  ASSERT_TRUE(map) << map.error();
  std::size_t compared = 0;
  for (const policy::MapModel& model : map->models) {
    const bool wide = std::ranges::count(model.features, "lm") != 0;
    const bool ours = wide && (model.vendor == "Intel" || model.vendor.empty());
    const policy::LibvirtModel* const row = policy::find_libvirt_model(model.name);
    EXPECT_EQ(row != nullptr, ours) << model.name;
    if (row == nullptr) continue;
    SCOPED_TRACE(model.name);
    ++compared;
    std::array<u32, 8> words = words_of_model(*map, model);
    constexpr u32 mpx = 1 << 14;
    if ((row->words[2] & mpx) == 0) words[2] &= ~mpx;
    EXPECT_EQ(words, row->words);
    EXPECT_EQ(model.signatures.empty() ? 0 : model.signatures.front(), row->signature);
    for (const std::string& name : model.features) {
      const policy::MapFeature& feature = *map->find_feature(name);
      const bool inside = feature.cpuid && is_described(*feature.cpuid);
      const bool of_vmx = name.starts_with("vmx-"), listed = std::ranges::count(policy::beyond_words(*row), name) != 0;
      EXPECT_EQ(listed, !inside && !of_vmx && name != "arat") << name;
    }
  }
  EXPECT_GE(compared, 30u);
}

TEST(LibvirtModels, HaveEachNameOnceAndNoSgx) {
  std::set<std::string_view> names;
  for (const policy::LibvirtModel& model : policy::libvirt_models()) {
    EXPECT_EQ(policy::find_libvirt_model(model.name()), &model);
    for (const std::string& name : text::split<std::string>(model.names, ' '))
      EXPECT_EQ(policy::find_libvirt_model(name), &model) << name;
    EXPECT_TRUE(names.insert(model.name()).second) << model.name();
    EXPECT_EQ(policy::find_description(model.name()), nullptr);
    EXPECT_EQ(policy::sgx_state(policy::leaves_of(model, model.name(), {})), policy::SgxState::absent);
  }
}

}  // namespace
}  // namespace cloister::toolstack::vm
