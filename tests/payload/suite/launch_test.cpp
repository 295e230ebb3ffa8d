// Launch control in its four cases, each a machine (docs/machine.md), and what domains make of it; and who gets the
// provisioning key. A payload goes from ECREATE to EINIT with two signers and says what it found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "machine.hpp"

namespace cloister::payload {
namespace {

using Hash = std::array<u64, 4>;
using testing::ElementsAreArray;

/// The MRSIGNER of one of the two signers of the payloads' enclaves: the last bytes of what guest/payload/sgx/sign.cpp
/// wrote.
Hash signer(bool second) {
  std::ifstream file(CLOISTER_BINARY_DIR "/guest/payload/signed_enclaves", std::ios::binary);
  Hash hash{};
  file.seekg(second ? -32 : -64, std::ios::end);
  file.read(reinterpret_cast<char*>(hash.data()), sizeof hash);
  EXPECT_TRUE(file.good());
  return hash;
}

/// What EINIT says of a signer who may not launch: SGX_INVALID_EINITTOKEN (SDM vol. 3D, table 38-4).
constexpr const char *yes = "0x0", *no = "0x10";

struct Found {
  std::string feature_control, hash, first, second;
};
struct Case {
  const char* name;
  /// The machine.
  bool sgx_lc, writable;
  Hash (*hash)();
  /// The domain.
  std::optional<bool> lewr;
  std::optional<Hash> (*lehash)();
  Found before;
  const char* write;
  Found after;
};

Hash intel() { return arch::msr::intel_lepubkeyhash; }
Hash first() { return signer(false); }
Hash second() { return signer(true); }
std::optional<Hash> unset() { return std::nullopt; }
std::optional<Hash> wants_first() { return first(); }

const Found by_intel{"0x40001", "intel", no, no}, by_first{"0x40001", "first", yes, no};

const Case cases[] = {
    {"none", false, false, intel, {}, unset, {"0x40001", "absent", no, no}, "refused", {"0x40001", "absent", no, no}},
    // Firmware's hash means nothing to a processor without launch control.
    {"none_ignores_a_hash",
     false,
     false,
     first,
     {},
     unset,
     {"0x40001", "absent", no, no},
     "refused",
     {"0x40001", "absent", no, no}},
    {"unwritable", true, false, intel, {}, unset, by_intel, "refused", by_intel},
    {"locked", true, false, first, {}, unset, by_first, "refused", by_first},
    {"locked_and_asked_for_the_same", true, false, first, {}, wants_first, by_first, "refused", by_first},
    {"unlocked", true, true, intel, {}, unset, {"0x60001", "intel", no, no}, "done", {"0x60001", "second", no, yes}},
    // As after a processor's reset, whatever firmware or another domain left there.
    {"unlocked_starts_with_intels",
     true,
     true,
     second,
     {},
     unset,
     {"0x60001", "intel", no, no},
     "done",
     {"0x60001", "second", no, yes}},
    {"unlocked_with_lehash",
     true,
     true,
     intel,
     {},
     wants_first,
     {"0x60001", "first", yes, no},
     "done",
     {"0x60001", "second", no, yes}},
    // The hypervisor may write what the guest may not.
    {"unlocked_with_lehash_and_without_lewr", true, true, intel, false, wants_first, by_first, "refused", by_first},
    {"unlocked_without_lewr", true, true, intel, false, unset, by_intel, "refused", by_intel},
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

Setting setting_of(const Case& c) {
  Setting setting{.epc_mib = 64};
  if (!c.sgx_lc) setting.features.leaf7_ecx &= ~(1u << 30);
  setting.launch_control_writable = c.writable;
  setting.launch_hash = c.hash();
  setting.launch = {.hash = c.lehash(), .writable = c.lewr};
  return setting;
}

void append(std::vector<std::string>& lines, const Found& found) {
  lines.push_back("FOUND feature_control=" + found.feature_control);
  lines.push_back("FOUND hash=" + found.hash);
  lines.push_back("FOUND first=" + found.first);
  lines.push_back("FOUND second=" + found.second);
}

class Launch : public testing::TestWithParam<Case> {};

TEST_P(Launch, IsForWhomMachineAndDomainSay) {
  const Case& c = GetParam();
  const auto result = run_payload("sgx_launch", setting_of(c));
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  std::vector<std::string> expected;
  append(expected, c.before);
  expected.push_back(std::string("FOUND write=") + c.write);
  append(expected, c.after);
  auto lines = result->lines_with("FOUND");
  ASSERT_GE(lines.size(), expected.size());
  lines.resize(expected.size());
  EXPECT_THAT(lines, ElementsAreArray(expected));
}

INSTANTIATE_TEST_SUITE_P(Machines, Launch, testing::ValuesIn(cases),
                         [](const auto& tested) { return std::string(tested.param.name); });

// KVM's rule (Documentation/virt/kvm/api.rst, KVM_CAP_SGX_ATTRIBUTE): without the permission ECREATE raises #GP, and
// CPUID lists the bit all the same.
TEST(Provision, IsForDomainsThatMay) {
  for (const bool may : {false, true}) {
    const auto result = run_payload("sgx_launch", {.epc_mib = 64, .sgx_provision = may});
    ASSERT_TRUE(result) << result.error();
    EXPECT_THAT(result->lines_with("FOUND offered"), testing::ElementsAre("FOUND offered=0x10"));
    EXPECT_THAT(result->lines_with("FOUND created"),
                testing::ElementsAre(may ? "FOUND created=done" : "FOUND created=refused"));
    EXPECT_THAT(result->lines_with("DONE"), testing::ElementsAre(testing::EndsWith("failures=0"))) << result->console;
  }
}

}  // namespace
}  // namespace cloister::payload
