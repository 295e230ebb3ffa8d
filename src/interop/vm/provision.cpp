#include "interop/vm/provision.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "arch/msr.hpp"
#include "config/launch_hash.hpp"

namespace cloister::toolstack::vm {

bool has_feature(const Cpu& cpu, std::string_view name) {
  return std::ranges::any_of(cpu.features, [&](const CpuFeature& f) { return f.name == name && is_on(f.policy); });
}

void put_feature(Cpu& cpu, const std::string& name, FeaturePolicy policy) {
  const auto found = std::ranges::find(cpu.features, name, &CpuFeature::name);
  if (found == cpu.features.end()) {
    cpu.features.push_back({.name = name, .policy = policy, .at = {}});
  } else {
    found->policy = policy;
  }
}

Cpu with_provision(const Vm& vm) {
  Cpu cpu = vm.cpu;
  constexpr const char* name = "sgx-provisionkey";
  const bool said = std::ranges::find(cpu.features, name, &CpuFeature::name) != cpu.features.end();
  if (vm.provision && (!said || has_feature(cpu, name) != *vm.provision)) {
    put_feature(cpu, name, *vm.provision ? FeaturePolicy::require : FeaturePolicy::disable);
  }
  return cpu;
}

void lose_launch(const Vm& vm, std::string_view target, std::vector<Loss>& losses) {
  const LaunchControl& launch = vm.launch;
  if (launch.hash && *launch.hash != arch::msr::intel_lepubkeyhash) {
    losses.push_back({fmt::format("launch hash {}", launch_hash_text(*launch.hash)),
                      fmt::format("{} cannot set IA32_SGXLEPUBKEYHASH, and a guest starts with Intel's", target)});
  }
  // The host's processor brings launch control unless it is switched off.
  const bool all =
      vm.cpu.mode == CpuMode::host_passthrough || vm.cpu.mode == CpuMode::maximum || vm.cpu.mode == CpuMode::host_model;
  const bool said = std::ranges::find(vm.cpu.features, "sgxlc", &CpuFeature::name) != vm.cpu.features.end();
  const bool may_have = said ? has_feature(vm.cpu, "sgxlc") : all;
  if (launch.writable == false && may_have) {
    losses.push_back({"a launch hash that the guest may not write",
                      fmt::format("{} lets each guest with 'sgxlc' write it", target)});
  }
  if (launch.writable == true && !may_have) {
    losses.push_back({"a launch hash that the guest may write",
                      fmt::format("{} lets guests with 'sgxlc' only write it, and this one is without", target)});
  }
}

}  // namespace cloister::toolstack::vm
