// The machine's own policies are of a package with all of its EPC, the domain's of one with the domain's frames, which
// is what its VMM makes.
#include "plan/policies.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "plan/plan.hpp"
#include "plan/policy_lines.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
using vmx::Package;

/// As CPUID answers, as a function.
auto raw_of(const vmx::Backend& silicon, const Package::Config& package) {
  return [&](u32 leaf, u32 subleaf) { return silicon.cpuid(package, leaf, subleaf); };
}

Grants whole(const MachineDescription& machine) {
  Grants all;
  for (u32 package = 0; package < machine.packages.size(); ++package) {
    EpcGrant grant{.package = package, .extents = {}};
    for (const EpcSectionDescription& section : machine.packages[package].epc)
      grant.extents.push_back({arch::frame_of(arch::Hpa{section.base}), section.bytes / arch::page_size});
    all.push_back(std::move(grant));
  }
  return all;
}

/// The domain without what its configuration says of its processors.
DomainConfig without_wishes(DomainConfig config) {
  config.cpuid.clear();
  config.silicon = DomainConfig{}.silicon;
  config.cpu_flags.clear();
  config.lehash.reset();
  config.lewr = true;
  config.where.erase("lewr");
  return config;
}

json to_json(const Policy& policy) {
  json view{{"cpuid", json::array()}, {"msrs", json::array()}};
  for (const auto& [where, regs] : policy.cpuid.leaves()) {
    view["cpuid"].push_back({{"leaf", where.first},
                             {"subleaf", where.second},
                             {"eax", regs.eax},
                             {"ebx", regs.ebx},
                             {"ecx", regs.ecx},
                             {"edx", regs.edx},
                             {"names", names_of_bits(where.first, where.second, regs)}});
  }
  for (const MsrLine& m : msr_lines(policy.msr)) {
    view["msrs"].push_back({{"index", m.index},
                            {"name", m.name},
                            {"value", m.present ? json(fmt::format("{:#x}", m.value)) : json(nullptr)},
                            {"writable", m.present && m.writable}});
  }
  return view;
}

}  // namespace

tl::expected<Policies, Diagnostic> make_policies(const vmx::Backend& silicon, const MachineDescription& machine,
                                                 const DomainConfig& config, const Grants& grants,
                                                 const PackageValues& own) {
  const auto refuse = [](const std::string& why) { return tl::unexpected(Diagnostic{{}, why}); };
  const Grants all = whole(machine);
  const vmx::Features features = machine_features(machine.silicon);
  const Package::Config whole_machine = package_config(package_values(machine, all, features), all);
  const policy::MsrPolicy msrs = machine_msrs(whole_machine);
  Policies policies;
  policies.sgx_provision = config.sgx_provision;
  policies.raw = {policy::raw_cpuid(raw_of(silicon, whole_machine)), msrs};
  policies.host = {policy::host_cpuid(raw_of(silicon, whole_machine)), msrs};
  auto maximum = policy::maximum_cpuid(raw_of(silicon, whole_machine), config.vcpus);
  if (!maximum) return refuse(maximum.error());
  const auto maximum_msrs = policy::domain_msrs(msrs, *maximum, {});
  if (!maximum_msrs) return refuse(maximum_msrs.error().message);
  policies.maximum = {std::move(*maximum), *maximum_msrs};

  const auto packages = packages_of(grants);
  const auto standard = TRY(make_plan(silicon, without_wishes(config),
                                      package_config(package_values(machine, grants, features), grants), packages));
  policies.standard = {standard.cpuid, standard.msr};
  const auto domain = TRY(make_plan(silicon, config, package_config(own, grants), packages));
  policies.domain = {domain.cpuid, domain.msr};
  return policies;
}

json to_json(const Policies& policies) {
  return {{"raw", to_json(policies.raw)},         {"host", to_json(policies.host)},
          {"maximum", to_json(policies.maximum)}, {"default", to_json(policies.standard)},
          {"domain", to_json(policies.domain)},   {"sgx_provision", policies.sgx_provision}};
}

}  // namespace cloister::toolstack
