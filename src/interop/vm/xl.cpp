// Xen's xl.cfg (docs/man/xl.cfg.5.pod.in): `cpuid` in libxl's string form, and `epc` as Xen's SGX patches of 2017 have
// it, a number of MiB; `localtime` and `rtc_timeoffset`. xl gives a guest the host's processor, less or more of single
// features.
#include <fmt/format.h>

#include <algorithm>

#include "config/config.hpp"
#include "config/launch_hash.hpp"
#include "config/xl/quoted.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/spoken.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

/// 1 demands a feature, 0 clears it, k passes on what the host has.
constexpr char xl_value(FeaturePolicy policy) {
  if (policy == FeaturePolicy::optional) return 'k';
  return is_on(policy) ? '1' : '0';
}

/// Takes out the feature that is a permission: a guest has all of the host's attributes, with the provisioning key.
Cpu without_provision(const Vm& vm, std::vector<Loss>& losses) {
  Cpu cpu = with_provision(vm);
  const bool refused = std::ranges::any_of(
      cpu.features, [](const CpuFeature& f) { return f.name == "sgx-provisionkey" && !is_on(f.policy); });
  if (refused && !vm.epc.empty())
    losses.push_back({"refusal of the provisioning key", "xl gives a guest with EPC all attributes that the host has"});
  std::erase_if(cpu.features, [](const CpuFeature& f) { return f.name == "sgx-provisionkey"; });
  return cpu;
}

std::string cpuid_line(const Vm& vm, std::vector<Loss>& losses) {
  const Cpu cpu = without_provision(vm, losses);
  if (cpu.mode == CpuMode::custom)
    losses.push_back({"CPU model " + shown(cpu.model), "xl has no CPU models, its guests have the host's processor"});
  std::string line;
  for (const SpokenFeature& feature : spoken(cpu, policy::Tool::xen, losses)) {
    if (feature.policy == FeaturePolicy::forbid)
      losses.push_back({fmt::format("policy 'forbid' of feature {}", feature.name),
                        "xl can switch it off, and not refuse hosts that have it"});
    line += fmt::format(",{}={}", feature.name, xl_value(feature.policy));
  }
  return line.empty() ? "" : fmt::format("cpuid = {}\n", xl::quoted("host" + line));
}

std::string epc_line(const Vm& vm, std::vector<Loss>& losses) {
  constexpr u64 kib_per_mib = 1024;
  if (vm.epc.empty()) return {};
  u64 kib = 0;
  for (const Epc& section : vm.epc) {
    kib += section.kib;
    if (!section.host_nodes.empty() || section.guest_node)
      losses.push_back({fmt::format("NUMA nodes of the EPC section of {} KiB", section.kib),
                        "xl's epc is a size, and says nothing of nodes"});
  }
  if (vm.epc.size() > 1)
    losses.push_back(
        {fmt::format("{} EPC sections", vm.epc.size()), "xl gives a guest one section, here of their sum"});
  if (kib % kib_per_mib != 0) losses.push_back({fmt::format("{} KiB of EPC", kib), "xl's epc is a number of MiB"});
  DomainConfig config;
  config.epc = {{.mib = (kib + kib_per_mib - 1) / kib_per_mib, .package = std::nullopt}};
  return write_config(config);
}

void lose_launch_control(const LaunchControl& launch, std::vector<Loss>& losses) {
  constexpr const char* only_proposed =
      "xl has no key for it; the patches' second version had {}, which Xen did not take";
  if (launch.hash && *launch.hash != arch::msr::intel_lepubkeyhash)
    losses.push_back({"launch hash " + launch_hash_text(*launch.hash), fmt::format(only_proposed, "lehash")});
  if (launch.writable == false)
    losses.push_back({"launch hash that the guest cannot write", fmt::format(only_proposed, "lewr")});
}

}  // namespace

Rendered to_xl(const Vm& vm) {
  Rendered rendered;
  rendered.text = "# xl.cfg of a Xen with SGX patches\n";
  rendered.text += epc_line(vm, rendered.losses);
  rendered.text += cpuid_line(vm, rendered.losses);
  rendered.text += clock_keys(vm.clock);
  lose_launch_control(vm.launch, rendered.losses);
  return rendered;
}

}  // namespace cloister::toolstack::vm
