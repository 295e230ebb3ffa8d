// Xen's xl.cfg (docs/man/xl.cfg.5.pod.in): `cpuid` in libxl's string form, or by registers where it lacks a word, and
// `epc` as Xen's SGX patches of 2017 have it, a number of MiB; `localtime` and `rtc_timeoffset`. xl gives a guest the
// host's processor, less or more of single features.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "config/config.hpp"
#include "config/launch_hash.hpp"
#include "config/xl/quoted.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/words.hpp"
#include "policy/flags.hpp"
#include "policy/leaves.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

/// 1 demands a feature, 0 clears it, k passes on what the host has.
constexpr char xl_value(FeaturePolicy policy) {
  if (policy == FeaturePolicy::optional) return 'k';
  return is_on(policy) ? '1' : '0';
}

/// A guest with EPC has all attributes that the host has, with the provisioning key: only its refusal is to be said,
/// and that only where there is EPC.
Cpu with_refusal(const Vm& vm) {
  Cpu cpu = with_provision(vm);
  std::erase_if(cpu.features, [&](const CpuFeature& f) {
    return f.name == "sgx-provisionkey" && (is_on(f.policy) || vm.epc.empty());
  });
  return cpu;
}

/// What xl is told of a bit.
struct SaidBit {
  const policy::Feature* feature;
  char value;
};

/// "host,sgx-lc=0,avx=k".
std::string string_form(const std::vector<SaidBit>& bits) {
  std::string line = "host";
  for (const SaidBit& bit : bits)
    line += fmt::format(",{}={}", policy::spelling(*bit.feature, policy::Tool::xen), bit.value);
  return xl::quoted(line);
}

/// A leaf's registers with a letter for each bit, the highest first: "0x12,1:eax=xxx…0xxxx".
std::string list_form(const std::vector<SaidBit>& bits) {
  constexpr std::string_view registers[] = {"eax", "ebx", "ecx", "edx"};
  std::map<std::pair<u32, u32>, std::map<policy::CpuidReg, std::string>> leaves;
  for (const SaidBit& bit : bits) {
    std::string& letters = leaves[{bit.feature->leaf, bit.feature->subleaf}][bit.feature->reg];
    letters.resize(32, 'x');
    letters[31 - bit.feature->bit] = bit.value;
  }
  std::string list;
  for (const auto& [where, written] : leaves) {
    const auto& [leaf, subleaf] = where;
    std::string entry =
        policy::has_subleaves(leaf) ? fmt::format("{:#x},{}", leaf, subleaf) : fmt::format("{:#x}", leaf);
    char between = ':';
    for (const auto& [reg, letters] : written) {
      entry += fmt::format("{}{}={}", between, registers[static_cast<std::size_t>(reg)], letters);
      between = ',';
    }
    list += (list.empty() ? "" : ", ") + xl::quoted(entry);
  }
  return "[" + list + "]";
}

std::string cpuid_line(const Vm& vm, std::vector<Loss>& losses) {
  const Cpu cpu = with_refusal(vm);
  if (cpu.mode == CpuMode::custom)
    losses.push_back({"CPU model " + shown(cpu.model), "xl has no CPU models, its guests have the host's processor"});
  std::vector<SaidBit> bits;
  for (const CpuFeature& feature : cpu.features) {
    const std::string name = is_word(feature.name) ? feature.name : shown(feature.name);
    const policy::Feature* const known = policy::find_feature(feature.name);
    if (known == nullptr) {
      losses.push_back({"feature " + name, "Xen has no word for it, and it is no bit of CPUID that is known here"});
      continue;
    }
    if (feature.policy == FeaturePolicy::forbid)
      losses.push_back({fmt::format("policy 'forbid' of feature {}", name),
                        "xl can switch it off, and not refuse hosts that have it"});
    bits.push_back({known, xl_value(feature.policy)});
  }
  if (bits.empty()) return {};
  // The two forms cannot be mixed: registers can say all that words can.
  const bool words = std::ranges::none_of(
      bits, [](const SaidBit& bit) { return policy::spelling(*bit.feature, policy::Tool::xen).empty(); });
  return fmt::format("cpuid = {}\n", words ? string_form(bits) : list_form(bits));
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
  if (!vm.nodes.empty())
    rendered.losses.push_back(
        {fmt::format("{} guest NUMA nodes", vm.nodes.size()), "xl has 'vnuma', which is not written here", true});
  return rendered;
}

}  // namespace cloister::toolstack::vm
