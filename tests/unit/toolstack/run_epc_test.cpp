// The EPC of a run without a daemon is the machine's: its frames, its packages, its faulty pages.
#include "run/run_epc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "silicon/silicon.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::ElementsAre;

constexpr const char* description = R"(
[[package]]
epc = [{ base = 0x1_0000_0000, size = 8 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 1, faulty = [0, 3] }, { base = 0x90_0000_0000, size = 2, faulty = [255, 300] }]
)";

DomainConfig config_of(const std::string& epc) {
  const auto read = read_config("name = 'd'\nkernel = 'k'\nepc = " + epc);
  EXPECT_TRUE(read.has_value()) << epc;
  return read ? read->config : DomainConfig{};
}

silicon::Package::Config package_of(const std::string& epc) {
  const auto machine = read_machine(description);
  EXPECT_TRUE(machine.has_value());
  const auto placed = place_epc(config_of(epc), machine.value_or(MachineDescription{}));
  EXPECT_TRUE(placed.has_value()) << (placed ? "" : placed.error().message);
  if (!machine || !placed) return {};
  return package_config(package_values(*machine, placed->grants, {}), placed->grants);
}

TEST(RunEpc, HasTheMachinesFrames) {
  const auto package = package_of("['size=1,package=1', 'size=4,package=0']");
  ASSERT_EQ(package.epc.size(), 2u);
  EXPECT_EQ(package.epc[0].first, arch::Mfn{0x800'0000});
  EXPECT_EQ(package.epc[0].pages, 256u);
  EXPECT_EQ(package.epc[1].first, arch::Mfn{0x10'0000});
  EXPECT_EQ(package.epc[1].pages, 4 * 256u);
  EXPECT_THAT(package.faulty_frames, ElementsAre(arch::Mfn{0x800'0000}, arch::Mfn{0x800'0003}));
}

// A section of the domain may be of several extents of the machine.
TEST(RunEpc, FaultyFramesAreThoseOfItsExtents) {
  const auto package = package_of("['size=3,package=1']");
  ASSERT_EQ(package.epc.size(), 2u);
  EXPECT_THAT(package.faulty_frames,
              ElementsAre(arch::Mfn{0x800'0000}, arch::Mfn{0x800'0003}, arch::Mfn{0x900'00ff}, arch::Mfn{0x900'012c}));
  EXPECT_THAT(package_of("['size=1,package=0']").faulty_frames, ElementsAre());
}

TEST(RunEpc, WithoutAMachineThereIsAsMuchAsTheDomainWants) {
  const DomainConfig config = config_of("5000");
  const auto placed = place_epc(config, machine_for(config));
  ASSERT_TRUE(placed.has_value());
  EXPECT_EQ(pages_of(placed->grants), 5000u * 256);
  EXPECT_THAT(packages_of(placed->grants), ElementsAre(0));
}

}  // namespace
}  // namespace cloister::toolstack
