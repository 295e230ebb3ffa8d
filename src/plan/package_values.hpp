// The part of the machine that one domain's Package is made of, as values that go into records and launch messages: the
// frames that the domain was granted, and what every package of the machine has in common.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "machine/epc/accounts.hpp"
#include "machine/machine.hpp"
#include "policy/policy.hpp"
#include "vmx/backend.hpp"
#include "vmx/features.hpp"

namespace cloister::toolstack {

/// What a domain was granted of the machine's EPC, one element for each section of its configuration.
using Grants = std::vector<EpcGrant>;

/// The extents of all grants, in order.
std::vector<vmx::EpcSection> sections_of(const Grants& grants);
/// The package of each grant.
std::vector<u32> packages_of(const Grants& grants);
u64 pages_of(const Grants& grants);
/// Grants as a domain wishes them, of frames that are nobody's: to see what follows before there are any.
Grants wished_grants(const std::vector<EpcSection>& sections);

struct PackageValues {
  LaunchControl launch_control = LaunchControl::unlocked;
  std::optional<std::array<u64, 4>> launch_hash;
  vmx::Features features;   ///< the domain's processor (chosen_silicon.hpp)
  std::vector<u64> faulty;  ///< frames among those of the Package that EREMOVE cannot clear
  /// What the Package lists, if that is more than the domain has: the EPC of the machine's packages, of which frames
  /// may be lent to it. Empty: what it was granted.
  std::vector<EpcExtent> range{};
  bool operator==(const PackageValues&) const = default;
};

/// What firmware made of launch control, on a package whose features are known: SGX_LC, IA32_FEATURE_CONTROL bit 17 and
/// the hash MSRs. Without a hash they are Intel's.
void apply_launch_control(vmx::Package::Config& config, LaunchControl state,
                          const std::optional<std::array<u64, 4>>& hash);
/// The sections of a domain's Package, which its EpcMemory has as many pages as.
std::vector<vmx::EpcSection> package_sections(const PackageValues& values, const Grants& grants);
u64 package_pages(const PackageValues& values, const Grants& grants);
/// Where frames are in that EpcMemory, whose pages lie in the order of the Package's sections; in ascending order.
std::vector<vmx::EpcRow> rows_in_memory(const std::vector<vmx::EpcSection>& frames,
                                        const std::vector<vmx::EpcSection>& package);
/// The MSRs of such a package's processors, within which a domain's are.
policy::MsrPolicy machine_msrs(const vmx::Package::Config& config);

/// The Package of a domain with these frames; memory, counters and secret are the caller's to add.
vmx::Package::Config package_config(const PackageValues& values, const Grants& grants);

/// Whether a domain's Package lists its frames alone, or all EPC of the packages that these are of.
enum class PackageRange : u8 { granted, whole };
/// What `machine` gives to a domain with these frames and such a processor.
PackageValues package_values(const MachineDescription& machine, const Grants& grants, const vmx::Features& features,
                             PackageRange range = PackageRange::granted);

/// [{"package":0,"extents":[{"first":…,"pages":…}]}], in frames of 4 KiB.
nlohmann::json to_json(const Grants& grants);
tl::expected<Grants, std::string> read_grants(const nlohmann::json& list);

nlohmann::json to_json(const PackageValues& values);
/// `config`: the text of the domain's configuration, from which the features of its host follow that earlier versions
/// did not write down.
tl::expected<PackageValues, std::string> read_package_values(const nlohmann::json& object, const std::string& config);

}  // namespace cloister::toolstack
