// Where a domain's processors run: what is read, and what it comes to on a host.
#include "plan/cpu_places.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const HostProcessors some_host{.online = {0, 1, 2, 3, 5}, .nodes = {{0, {0, 1}}, {1, {2, 3, 5}}}};

tl::expected<std::vector<CpuSet>, Diagnostic> placed(const std::string& lines, const MachineDescription& machine = {},
                                                     const Grants& grants = {}) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\n" + lines);
  if (!read) return tl::unexpected(read.error());
  return place_vcpus(read->config, machine, grants, some_host);
}

TEST(CpuPlaces, AreThoseOfTheList) {
  EXPECT_THAT(*placed(""), ElementsAre(IsEmpty()));
  EXPECT_THAT(*placed("cpus = 'all'\nvcpus = 2"), ElementsAre(IsEmpty(), IsEmpty()));
  EXPECT_THAT(*placed("cpus = '0-3,^1'\nvcpus = 2"), ElementsAre(CpuSet{0, 2, 3}, CpuSet{0, 2, 3}));
  EXPECT_THAT(*placed("cpus = '5'"), ElementsAre(CpuSet{5}));
  EXPECT_THAT(*placed("cpus = '^3, nodes:1, 0'"), ElementsAre(CpuSet{0, 2, 5}));
  EXPECT_THAT(*placed("cpus = 'nodes:0-1,^node:0'"), ElementsAre(CpuSet{2, 3, 5}));
  EXPECT_THAT(*placed("cpus = ['1', 'all', 'nodes:1']\nvcpus = 4"),
              ElementsAre(CpuSet{1}, IsEmpty(), CpuSet{2, 3, 5}, IsEmpty()));
  EXPECT_THAT(all_places({{1}, {0, 5}}), ElementsAre(0, 1, 5));
  EXPECT_THAT(all_places({{1}, {}}), IsEmpty());
}

TEST(CpuPlaces, WhatCannotBeIsAnErrorWhereItStands) {
  const auto error = [](const std::string& lines) {
    const auto places = placed(lines);
    return places ? "none" : std::to_string(places.error().at.line) + ": " + places.error().message;
  };
  EXPECT_EQ(error("cpus = '4'"), "3: 'cpus': the host has no processor 4, but 0-3,5");
  EXPECT_EQ(error("cpus = 'nodes:2'"), "3: 'cpus': the host has no node 2");
  EXPECT_EQ(error("cpus = '1,^0-1'"), "3: 'cpus': \"1,^0-1\" leaves none of the host's processors");
  for (const char* bad : {"''", "'a'", "'1-'", "'3-1'", "'1,'", "'^1'", "'9999'", "'-1'", "[['1']]", "'1;2'"})
    EXPECT_THAT(error(std::string("cpus = ") + bad), HasSubstr("3: 'cpus': found")) << bad;
  EXPECT_EQ(error("cpus = ['0', '1']"), "3: 'cpus': found 2 elements, expected at most 'vcpus', which is 1");
}

/// Without a word of the configuration's each is near the EPC.
TEST(CpuPlaces, OfSeveralPackagesEachHasItsShare) {
  MachineDescription machine;
  for (const u32 node : {1u, 0u, 9u})
    machine.packages.push_back({.epc = {{.base = 0, .bytes = 1 << 20, .node = node, .faulty = {}}}});
  const auto grant = [](u32 package) { return EpcGrant{.package = package, .extents = {}}; };
  EXPECT_THAT(*placed("vcpus = 4", machine, {grant(1), grant(0)}),
              ElementsAre(CpuSet{2, 3, 5}, CpuSet{2, 3, 5}, CpuSet{0, 1}, CpuSet{0, 1}));
  EXPECT_THAT(*placed("vcpus = 3", machine, {grant(1), grant(0)}),
              ElementsAre(CpuSet{2, 3, 5}, CpuSet{2, 3, 5}, CpuSet{0, 1}))
      << "as the guest's nodes have them";
  EXPECT_THAT(*placed("vcpus = 2", machine, {grant(1), grant(1)}), ElementsAre(IsEmpty(), IsEmpty()));
  EXPECT_THAT(*placed("vcpus = 2", machine, {grant(1), grant(2)}), ElementsAre(CpuSet{0, 1}, IsEmpty()))
      << "the host has no such node";
  EXPECT_THAT(*placed("vcpus = 2\ncpus = 'all'", machine, {grant(0), grant(1)}), ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(HostProcessors, AreWhatSysfsSays) {
  const tests::Folder folder;
  const std::filesystem::path sys = std::filesystem::path(folder.path()) / "sys/devices/system";
  std::filesystem::create_directories(sys / "cpu");
  std::filesystem::create_directories(sys / "node/node0");
  std::filesystem::create_directories(sys / "node/node12");
  std::ofstream(sys / "cpu/online") << "0-2,7\n";
  std::ofstream(sys / "node/node0/cpulist") << "0-2\n";
  std::ofstream(sys / "node/node12/cpulist") << "\n";
  const HostProcessors found = host_processors(folder.path());
  EXPECT_THAT(found.online, ElementsAre(0, 1, 2, 7));
  EXPECT_THAT(found.nodes, ElementsAre(std::pair{0u, CpuSet{0, 1, 2}}, std::pair{12u, CpuSet{}}));
  EXPECT_THAT(host_processors(folder.path() + "/none").online, IsEmpty());
  EXPECT_EQ(cpu_set_text({0, 1, 2, 7, 9, 10}), "0-2,7,9-10");
  for (const char* bad : {"1-", "a", "3-1", ",", "1,,2", "1,"}) EXPECT_FALSE(read_cpu_set(bad)) << bad;
  const CpuSet before = cpus_of_thread();
  ASSERT_FALSE(before.empty());
  ASSERT_TRUE(run_on_cpus({before.back()}));
  EXPECT_EQ(cpus_of_thread(), CpuSet{before.back()});
  EXPECT_FALSE(run_on_cpus({}));
  EXPECT_TRUE(run_on_cpus(before));
}

}  // namespace
}  // namespace cloister::toolstack
