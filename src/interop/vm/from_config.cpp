// A domain's configuration as a Vm. Described silicon becomes the model that stands for it, with every SGX feature that
// the domain has; a model of libvirt's stays that, with its flags; "default" is what the machine has, on which only
// what the configuration says is laid.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "interop/vm/config_policy.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/models.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/words.hpp"
#include "plan/chosen_silicon.hpp"
#include "text/split.hpp"

namespace cloister::toolstack::vm {

namespace {

using Failed = tl::unexpected<Diagnostic>;

constexpr std::string_view provisioning = "sgx-provisionkey";

FeaturePolicy on_or_off(bool on) { return on ? FeaturePolicy::require : FeaturePolicy::disable; }

/// Sections of a package are of the host's NUMA node with its number; for the guest the packages are nodes, in the
/// order of their numbers (docs/configuration.md, "epc").
std::vector<Epc> sections_of(const DomainConfig& config) {
  std::set<u32> packages;
  for (const EpcSection& section : config.epc) {
    if (section.package) packages.insert(*section.package);
  }
  std::vector<Epc> sections;
  for (const EpcSection& section : config.epc) {
    Epc epc{.kib = section.mib * 1024, .host_nodes = {}, .guest_node = std::nullopt, .at = config.position_of("epc")};
    if (section.package) {
      epc.host_nodes = {*section.package};
      epc.guest_node = static_cast<u32>(std::distance(packages.begin(), packages.find(*section.package)));
    }
    sections.push_back(std::move(epc));
  }
  return sections;
}

}  // namespace

tl::expected<Vm, Diagnostic> from_config(const DomainConfig& config, const vmx::Backend& silicon) {
  if (names_a_dump(config.silicon)) {
    return Failed(Diagnostic{config.position_of("silicon"),
                             "'silicon': found a CPUID dump, which no CPU model stands for; expected \"default\", "
                             "a description's name or a libvirt model's"});
  }
  const auto policy = policy_of(config, silicon);
  if (!policy) return Failed(policy.error());
  const std::vector<std::string> sgx = sgx_features_of(*policy);
  const auto has = [&](std::string_view name) { return std::ranges::find(sgx, name) != sgx.end(); };

  Vm vm;
  vm.name = config.name;
  vm.uuid = config.uuid;
  vm.memory_kib = config.memory_mib * 1024;
  vm.vcpus = config.vcpus;
  vm.kernel = config.kernel;
  vm.ramdisk = config.ramdisk;
  // With a bootloader it is for a kernel on the disk, whose own words come first.
  if (!config.kernel.empty()) vm.cmdline = config.cmdline;
  vm.epc = sections_of(config);
  vm.clock = {.localtime = config.localtime, .ahead = config.rtc_timeoffset};

  const ModelRow* const row = row_of_silicon(config.silicon);
  const bool model = names_a_model(config.silicon);
  if (model) {
    vm.cpu.mode = CpuMode::custom;
    vm.cpu.model = config.silicon;
    vm.cpu.by_name = true;
    // Others may have what is not implemented here.
    for (const policy::CpuidOverride& flag : config.cpu_flags) put_feature(vm.cpu, flag.feature, on_or_off(flag.on));
  } else if (row != nullptr) {
    vm.cpu.mode = CpuMode::custom;
    vm.cpu.model = row->model;
    for (const std::string& name : text::split<std::string>(row->lacks, ' '))
      put_feature(vm.cpu, name, FeaturePolicy::disable);
    // No model has SGX: what is not named is off.
    for (const std::string& name : sgx) put_feature(vm.cpu, name, FeaturePolicy::require);
  } else {
    vm.cpu.mode = CpuMode::host_passthrough;
    put_feature(vm.cpu, "sgx", on_or_off(has("sgx")));
  }
  for (const policy::CpuidOverride& change : config.cpuid) {
    const std::string name = name_of_word(change.feature, policy::Tool::xen);
    const bool of_sgx = policy::find_sgx_flag(name) != nullptr;
    // Without EPC there is no SGX to change.
    const bool said = of_sgx && !model && (row != nullptr || vm.epc.empty() || name == "sgx");
    if (!said) put_feature(vm.cpu, name, on_or_off(change.on));
  }
  if (!vm.epc.empty() && has("sgx")) {
    vm.provision = config.sgx_provision && has(provisioning);
    put_feature(vm.cpu, std::string(provisioning), on_or_off(*vm.provision));
    vm.launch.hash = config.lehash;
    if (config.where.contains("lewr") && has("sgxlc")) vm.launch.writable = config.lewr;
  }
  for (CpuFeature& feature : vm.cpu.features) {
    feature.at = config.position_of(config.where.contains("cpuid")       ? "cpuid"
                                    : config.where.contains("cpu_flags") ? "cpu_flags"
                                                                         : "silicon");
  }
  return vm;
}

}  // namespace cloister::toolstack::vm
