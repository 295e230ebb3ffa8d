// Random leaves of a guest's (guest/payload/cases_sgx_random.cpp) with the pager at work: what is always true of an
// EPCM stays true, no version is given out twice, and nothing that lies outside is what it was inside.
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "machine.hpp"
#include "package_in_front.hpp"
#include "unit/silicon/sgx_invariants.hpp"

namespace cloister::payload {
namespace {

using hypervisor::EpcPaging;

/// Sees each page that leaves EPC by a leaf of the hypervisor's.
class Watched final : public tests::PackageInFront {
 public:
  explicit Watched(silicon::Package& real) : PackageInFront(real), real_(real) {}
  u64 written = 0;

  vmx::EnclsResult encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) override {
    if (leaf != arch::EnclsLeaf::ewb) return real_.encls(leaf, operands);
    std::array<u64, arch::page_size / sizeof(u64)> before, image;
    std::memcpy(before.data(), inside(operands.page), arch::page_size);
    const auto result = real_.encls(leaf, operands);
    const bool occupied = result.rax == static_cast<u64>(arch::SgxError::va_slot_occupied);
    if (result.fault || (result.rax != 0 && !occupied)) return result;
    ++written;
    std::memcpy(image.data(), operands.pageinfo->source.data(), arch::page_size);
    for (std::size_t i = 0; i < image.size(); ++i) EXPECT_NE(image[i], before[i]) << i;
    u64 version = 0;
    std::memcpy(&version, inside(operands.version->page) + operands.version->index * sizeof version, sizeof version);
    EXPECT_TRUE(versions_.insert(version).second) << version;
    return result;
  }

 private:
  const u8* inside(arch::Mfn frame) { return real_.impl().page(*real_.impl().index_of(frame)); }

  silicon::Package& real_;
  std::set<u64> versions_;
};

class RandomLeaves : public testing::TestWithParam<EpcPaging> {};

TEST_P(RandomLeaves, LeaveEpcWhole) {
  Watched* watched = nullptr;
  std::unique_ptr<silicon::SgxInvariants> invariants;
  unsigned exits = 0, checks = 0;
  Setting setting{.epc_mib = 4, .frames = 256, .paging = GetParam(), .storm = 1};
  setting.in_front = [&](silicon::Package& own, const platform::MemoryMap&) {
    auto made = std::make_unique<Watched>(own);
    watched = made.get();
    invariants = std::make_unique<silicon::SgxInvariants>(own.impl(), std::vector<const silicon::Cpu*>{});
    return made;
  };
  u64 written = 0;
  setting.after_exit = [&] {
    written = watched->written;
    if (++exits % 64 != 0 || testing::Test::HasFailure()) return;
    ++checks;
    EXPECT_EQ(invariants->broken(silicon::SgxInvariants::Seen::meetings), "") << exits;
  };
  const auto result = run_payload("sgx_random", setting);
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  EXPECT_GT(checks, 100u);
  EXPECT_GE(written, result->evictions);
  EXPECT_GT(result->evictions, 3000u);
}

INSTANTIATE_TEST_SUITE_P(Modes, RandomLeaves, testing::Values(EpcPaging::trap, EpcPaging::oss),
                         [](const auto& tested) { return tested.param == EpcPaging::trap ? "trap" : "oss"; });

}  // namespace
}  // namespace cloister::payload
