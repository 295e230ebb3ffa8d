#include "interop/vm/config_policy.hpp"

#include "arch/try.hpp"
#include "plan/plan.hpp"
#include "policy/flags.hpp"

namespace cloister::toolstack::vm {

tl::expected<policy::CpuidTable, Diagnostic> policy_of(const DomainConfig& config, const vmx::Backend& silicon) {
  const auto chosen = TRY(choose_silicon(silicon, config));
  vmx::Package::Config package;
  package.features = chosen.features;
  if (!config.epc.empty()) package.epc = {{arch::Mfn{1}, 1}};
  const auto raw = [&](u32 leaf, u32 subleaf) { return silicon.cpuid(package, leaf, subleaf); };
  auto plan = TRY(make_plan(config, raw, {}, chosen.described));
  return std::move(plan.cpuid);
}

std::vector<std::string> sgx_features_of(const policy::CpuidTable& table) {
  std::vector<std::string> names;
  for (const policy::SgxFlag& flag : policy::sgx_flags()) {
    if (policy::has(table, *policy::find_feature(flag.name))) names.emplace_back(flag.name);
  }
  return names;
}

}  // namespace cloister::toolstack::vm
