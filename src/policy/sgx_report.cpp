// A host's SGX in summary: its state, its launch control (SDM vol. 3D, 37.7.1), and what leaf 12H says of enclaves.
#include <algorithm>

#include "policy/feature_rows.hpp"
#include "policy/host_findings.hpp"
#include "policy/host_view.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

/// Features that are SGX's.
std::vector<const Feature*> sgx_features() {
  std::vector<const Feature*> found;
  for (const FeatureRow& row : feature_rows()) {
    if (row.leaf == leaf::sgx || row.name.starts_with("sgx")) found.push_back(find_feature(row.name));
  }
  return found;
}

void describe_enclaves(SgxReport& report, const CpuidTable& table) {
  const auto regs = [&](u32 subleaf) { return table.look(leaf::sgx, subleaf).regs; };
  report.xfrm = u64{regs(1).edx} << 32 | regs(1).ecx;
  report.log2_size_32 = static_cast<u8>(regs(0).edx);
  report.log2_size_64 = static_cast<u8>(regs(0).edx >> 8);
}

}  // namespace

std::string_view name_of(LaunchCase launch) {
  switch (launch) {
    case LaunchCase::none: return "none";
    case LaunchCase::unwritable: return "unwritable";
    case LaunchCase::locked: return "locked";
    case LaunchCase::unlocked: return "unlocked";
    case LaunchCase::unknown: break;
  }
  return "unknown";
}

SgxState state_of(const HostView& host) {
  const Known sgx = has(host, *find_feature("sgx")), sgx1 = has(host, *find_feature("sgx1"));
  if (sgx == Known::no) return SgxState::absent;
  if (sgx1 == Known::yes) return SgxState::offered;
  return sgx == Known::yes && sgx1 == Known::no ? SgxState::switched_off : SgxState::unknown;
}

std::optional<u64> feature_control_of(const HostView& host) {
  if (host.environment && host.environment->feature_control) return host.environment->feature_control;
  const auto shown = host.msrs.find(msr::feature_control);
  return shown == host.msrs.end() ? std::nullopt : std::optional(shown->second);
}

std::optional<std::array<u64, 4>> lepubkeyhash_of(const HostView& host) {
  if (host.environment && host.environment->lepubkeyhash) return host.environment->lepubkeyhash;
  std::array<u64, 4> hash{};
  for (u32 i = 0; i < hash.size(); ++i) {
    const auto shown = host.msrs.find(msr::sgxlepubkeyhash0 + i);
    if (shown == host.msrs.end()) return std::nullopt;
    hash[i] = shown->second;
  }
  return hash;
}

LaunchCase launch_of(const HostView& host) {
  if (has(host, *find_feature("sgx")) == Known::no || has(host, *find_feature("sgxlc")) == Known::no)
    return LaunchCase::none;
  if (has(host, *find_feature("sgxlc")) == Known::unknown) return LaunchCase::unknown;
  // Linux offers enclaves to programs only where it can write the hash.
  const bool driver = host.environment && host.environment->enclave != HostEnvironment::Device::absent;
  const auto control = feature_control_of(host);
  if (!control) return driver ? LaunchCase::unlocked : LaunchCase::unknown;
  if ((*control & msr::feature_control_bits::lock) == 0) return LaunchCase::unknown;
  if ((*control & msr::feature_control_bits::sgx_launch_control) != 0) return LaunchCase::unlocked;
  const auto hash = lepubkeyhash_of(host);
  if (!hash) return LaunchCase::unknown;
  return *hash == msr::intel_lepubkeyhash ? LaunchCase::unwritable : LaunchCase::locked;
}

bool is_launch_locked(const HostView& host) {
  if (has(host, *find_feature("sgxlc")) != Known::yes) return false;
  const auto control = feature_control_of(host);
  if (!control) return host.launch_locked;
  using namespace msr::feature_control_bits;
  return (*control & (lock | sgx_launch_control)) == lock;
}

SgxReport sgx_report(const HostView& host) {
  SgxReport report;
  report.state = state_of(host);
  report.launch = launch_of(host);
  report.sections = epc_of(host);
  if (!host.cpus.empty() && report.state == SgxState::offered) describe_enclaves(report, host.cpus.front().table);
  for (const Feature* feature : sgx_features()) {
    const Known known = has(host, *feature);
    (known == Known::yes ? report.has : known == Known::no ? report.lacks : report.unknown).emplace_back(feature->name);
  }
  report.findings = find_obstacles(host, report);
  report.usable =
      report.state == SgxState::offered && report.sections && !report.sections->empty() && obstacle(report) == nullptr;
  return report;
}

const Finding* obstacle(const SgxReport& report) {
  const auto found = std::ranges::find(report.findings, true, &Finding::blocks);
  return found == report.findings.end() ? nullptr : &*found;
}

Known guests_have(const HostView& host, const SgxReport& report, const Feature& feature) {
  return feature.name.starts_with("sgx") && obstacle(report) != nullptr ? Known::no : has(host, feature);
}

}  // namespace cloister::policy
