// A Vm as a domain's configuration (docs/configuration.md), in read_config()'s bounds. Without a kernel the key is a
// comment, since a domain cannot start from a disk.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "arch/msr.hpp"
#include "config/config.hpp"
#include "config/domain_name.hpp"
#include "config/launch_hash.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/config_policy.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/models.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/spoken.hpp"
#include "interop/vm/words.hpp"
#include "policy/flags.hpp"
#include "text/shown.hpp"
#include "text/split.hpp"

namespace cloister::toolstack::vm {

namespace {

using policy::CpuidTable;

constexpr std::string_view provisioning_flag = "sgx-provisionkey";

bool wants(const Vm& vm, const std::string& name) { return has_feature(vm.cpu, name); }

class ConfigWriter {
 public:
  ConfigWriter(const Vm& vm, const vmx::Backend& silicon) : vm_(vm), silicon_(silicon) { cpu_ = with_provision(vm); }

  Rendered rendered() {
    minor_ones();
    config_.name = name();
    config_.uuid = vm_.uuid;
    memory();
    vcpus();
    boot();
    sections();
    silicon();
    cpuid();
    sgx_keys();
    clock();
    return {(vm_.kernel.empty() ? no_kernel : "") + write_config(config_), std::move(losses_)};
  }

 private:
  static constexpr const char* no_epc = "a domain without 'epc' has no SGX";
  static constexpr const char* no_kernel =
      "# kernel = \"\"  # required: a bzImage, or an ELF kernel with a PVH entry\n";

  /// The key is written though its value may be the default.
  void say(const char* key) { config_.where.emplace(key, Position{}); }
  void lose(std::string what, std::string why) { losses_.push_back({std::move(what), std::move(why)}); }
  void lose_minor(std::string what, std::string why) { losses_.push_back({std::move(what), std::move(why), true}); }

  void minor_ones() {
    if (!vm_.emulator.empty()) lose_minor(fmt::format("emulator {}", shown(vm_.emulator)), "a domain needs none");
    if (!vm_.machine.empty())
      lose_minor(fmt::format("machine {}", shown(vm_.machine)), "a domain's platform is always the same");
  }

  std::string name() {
    std::string name = vm_.name;
    for (char& c : name) {
      if (!valid_name(std::string("a") + c)) c = '-';
    }
    name.resize(std::min(name.size(), longest_name));
    if (!valid_name(name)) name.insert(0, "vm").resize(std::min(name.size(), longest_name));
    if (name != vm_.name && !vm_.name.empty())
      lose_minor(fmt::format("name {}", shown(vm_.name)), fmt::format("a name has {}", name_rule));
    return name;
  }

  /// Whole MiB, rounded up.
  u64 in_mib(u64 kib, const char* what) {
    if (kib % 1024 != 0) lose_minor(fmt::format("{} KiB of {}", kib, what), "a domain has whole MiB; rounded up");
    return (kib + 1023) / 1024;
  }

  void memory() {
    const u64 mib = in_mib(vm_.memory_kib, "memory");
    config_.memory_mib = std::clamp(mib, limits::least_memory_mib, limits::most_mib);
    if (mib != config_.memory_mib)
      lose(fmt::format("{} MiB of memory", mib),
           fmt::format("a domain has from {} to {}", limits::least_memory_mib, limits::most_mib));
    say("memory");
  }

  void vcpus() {
    if (vm_.vcpus > limits::most_vcpus)
      lose(fmt::format("{} processors", vm_.vcpus), fmt::format("a domain has {} at most", limits::most_vcpus));
    config_.vcpus = static_cast<u32>(std::clamp<u64>(vm_.vcpus, 1, limits::most_vcpus));
    say("vcpus");
  }

  void boot() {
    if (vm_.kernel.empty())
      lose_minor("start from a disk or the network", "a domain starts from a kernel, which is to be named");
    config_.kernel = vm_.kernel;
    config_.ramdisk = vm_.ramdisk;
    config_.cmdline = vm_.cmdline;
  }

  // ------------------------------------------------------------------------------------------------ EPC

  void sections() {
    u64 sum = 0;
    for (const Epc& epc : vm_.epc) {
      const u64 mib = in_mib(epc.kib, "EPC");
      if (config_.epc.size() == most_epc_sections || sum + mib > limits::most_mib) {
        lose(fmt::format("EPC section of {} MiB", mib),
             fmt::format("a domain has {} sections and {} MiB at most", most_epc_sections, limits::most_mib));
        continue;
      }
      sum += mib;
      config_.epc.push_back({.mib = mib, .package = package_of(epc)});
      kept_.push_back(&epc);
      if (!epc.prealloc) lose("EPC that is not allocated at the start", "a domain's EPC always is");
    }
    lose_guest_nodes();
  }

  std::optional<u32> package_of(const Epc& epc) {
    if (epc.host_nodes.empty()) return std::nullopt;
    if (epc.host_nodes.size() == 1 && epc.host_nodes.front() <= limits::most_package) return epc.host_nodes.front();
    lose(fmt::format("EPC of NUMA nodes {}", fmt::join(runs_of(epc.host_nodes), ",")),
         fmt::format("a section is of one package, from 0 to {}", limits::most_package));
    return std::nullopt;
  }

  /// The guest's nodes follow from the packages. A section that names none is of the others' if there is one.
  void lose_guest_nodes() {
    if (!vm_.nodes.empty())
      lose_minor(fmt::format("{} guest NUMA nodes", vm_.nodes.size()),
                 "a domain's RAM and processors are divided evenly between nodes that follow from its EPC");
    std::set<u32> packages;
    for (const EpcSection& section : config_.epc) {
      if (section.package) packages.insert(*section.package);
    }
    for (std::size_t i = 0; i < config_.epc.size(); ++i) {
      const auto package = config_.epc[i].package;
      constexpr std::ptrdiff_t unknown = -1;
      const std::ptrdiff_t follows = package                ? std::distance(packages.begin(), packages.find(*package))
                                     : packages.size() <= 1 ? 0
                                                            : unknown;
      const auto asked = kept_[i]->guest_node;
      if (asked && follows != std::ptrdiff_t{*asked})
        lose(fmt::format("EPC in the guest's node {}", *asked), "the nodes of a domain follow from its EPC's packages");
    }
  }

  // ------------------------------------------------------------------------------------------------ the CPU

  void silicon() {
    const Cpu& cpu = vm_.cpu;
    if (cpu.mode == CpuMode::host_model || cpu.mode == CpuMode::maximum) {
      lose(fmt::format("CPU mode {}", cpu.mode == CpuMode::maximum ? "maximum" : "host-model"),
           "a domain has the machine's processor, or what a description says");
    }
    if (cpu.mode != CpuMode::custom) return;
    if (!cpu.by_name || !can_be_named()) row_ = best_row();
    if (row_ != nullptr) {
      config_.silicon = row_->silicon;
    } else if (can_be_named()) {
      config_.silicon = cpu.model;
    } else {
      lose(fmt::format("CPU model {}", shown(cpu.model)), "no silicon description is like it");
    }
  }

  /// A model that no description is like is had by its name, if its flags make enclaves where there is EPC.
  bool can_be_named() const {
    return names_a_model(vm_.cpu.model) && (config_.epc.empty() || (wants(vm_, "sgx") && wants(vm_, "sgx1")));
  }

  /// A model has what its flags say; what is not implemented is left out.
  void flags() {
    for (const CpuFeature& feature : cpu_.features) {
      lose_policy(feature);
      const policy::Feature* const known = policy::find_feature(feature.name);
      if (known == nullptr) {
        lose_word(feature);
        continue;
      }
      if (is_on(feature.policy) && config_.epc.empty() && policy::find_sgx_flag(feature.name) != nullptr) {
        lose(fmt::format("feature {}", feature.name), no_epc);
        continue;
      }
      config_.cpu_flags.push_back({feature.name, is_on(feature.policy)});
    }
    const CpuidTable table = policy();
    launch_control_ = policy::has(table, *policy::find_feature("sgxlc"));
    std::erase_if(config_.cpu_flags, [&](const policy::CpuidOverride& flag) {
      if (!flag.on || policy::has(table, *policy::find_feature(flag.feature))) return false;
      lose(fmt::format("feature {}", flag.feature), "no silicon here has it, or not without what is switched off");
      return true;
    });
  }

  /// What the domain has so far. Sizes do not matter, and nothing is asked for that can lack, so that there is no
  /// error.
  CpuidTable policy() const {
    DomainConfig asked = config_;
    asked.memory_mib = DomainConfig{}.memory_mib;
    asked.vcpus = DomainConfig{}.vcpus;
    if (!asked.epc.empty()) asked.epc = {{.mib = 1, .package = std::nullopt}};
    return policy_of(asked, silicon_).value_or(CpuidTable{});
  }

  /// Of the descriptions that the model stands for, one that has the SGX that is wanted, and lacks what is switched
  /// off.
  const ModelRow* best_row() {
    const ModelRow* best = nullptr;
    std::size_t least = 0;
    for (const ModelRow& row : model_rows()) {
      if (row.model != vm_.cpu.model) continue;
      config_.silicon = row.silicon;
      const CpuidTable table = policy();
      std::size_t wrong = 0;
      for (const CpuFeature& feature : vm_.cpu.features) {
        const policy::Feature* const known = policy::find_feature(feature.name);
        if (known == nullptr) continue;
        // One that lacks outweighs any number that are there and are switched off.
        constexpr std::size_t heavy = 1000;
        if (is_on(feature.policy) && !policy::has(table, *known)) wrong += heavy;
        if (!is_on(feature.policy) && policy::has(table, *known)) ++wrong;
      }
      if (!vm_.epc.empty()) {
        for (const std::string& name : sgx_features_of(table)) wrong += wants(vm_, name) ? 0 : 1;
      }
      for (const std::string& name : text::split<std::string>(row.lacks, ' ')) wrong += is_off(name) ? 0 : 1;
      if (best == nullptr || wrong < least) {
        best = &row;
        least = wrong;
      }
    }
    config_.silicon = "default";
    return best;
  }

  /// No model has SGX, so that all of it that is on is named.
  bool complete() const { return vm_.cpu.mode == CpuMode::custom || vm_.cpu.mode == CpuMode::unspecified; }

  bool is_off(const std::string& name) const {
    return std::ranges::any_of(cpu_.features, [&](const CpuFeature& f) { return f.name == name && !is_on(f.policy); });
  }

  void change(const std::string& name, bool on) {
    std::erase_if(config_.cpuid, [&](const policy::CpuidOverride& o) { return o.feature == name; });
    config_.cpuid.push_back({name, on});
  }

  /// Off first, which always can be had; then on, as far as it can.
  void cpuid() {
    if (names_a_model(config_.silicon)) return flags();
    const CpuidTable all = policy();
    const bool sgx = !config_.epc.empty();
    launch_control_ = policy::has(all, *policy::find_feature("sgxlc"));
    if (row_ != nullptr) {
      for (const std::string& name : text::split<std::string>(row_->without, ' ')) {
        if (!wants(vm_, name)) change(name, false);
      }
    }
    if (complete()) {
      for (const std::string& name : sgx_features_of(all)) {
        if (name != provisioning_flag && !wants(vm_, name)) change(name, false);
      }
    }
    for (const CpuFeature& feature : cpu_.features) {
      if (!is_on(feature.policy)) switch_off(feature, all, sgx);
    }
    const CpuidTable rest = policy();
    for (const CpuFeature& feature : cpu_.features) {
      if (is_on(feature.policy)) switch_on(feature, rest, sgx);
    }
  }

  void lose_policy(const CpuFeature& feature) {
    if (feature.policy == FeaturePolicy::require || feature.policy == FeaturePolicy::disable) return;
    lose(fmt::format("policy '{}' of feature {}", word_of(feature.policy), shown(feature.name)),
         "'cpuid' knows 1 and 0 only");
  }

  void switch_off(const CpuFeature& feature, const CpuidTable& all, bool sgx) {
    lose_policy(feature);
    const policy::Feature* const known = policy::find_feature(feature.name);
    if (known == nullptr) return lose_word(feature);
    const bool of_sgx = policy::find_sgx_flag(feature.name) != nullptr;
    if (feature.name == provisioning_flag || (of_sgx && !sgx)) return;
    // What a description lacks is off. Outside SGX more is described than is implemented, so only the table knows.
    const bool lacks = row_ != nullptr && std::ranges::count(text::split(row_->lacks, ' '), feature.name) > 0;
    if (of_sgx && complete() ? policy::has(all, *known) : !lacks) change(feature.name, false);
  }

  void switch_on(const CpuFeature& feature, const CpuidTable& rest, bool sgx) {
    lose_policy(feature);
    const policy::Feature* const known = policy::find_feature(feature.name);
    if (known == nullptr) return lose_word(feature);
    const bool of_sgx = policy::find_sgx_flag(feature.name) != nullptr;
    if (of_sgx && !sgx) return lose(fmt::format("feature {}", feature.name), no_epc);
    if (!policy::has(rest, *known)) {
      if (of_sgx && there_by_name(feature.name, *known)) return;
      return lose(fmt::format("feature {}", feature.name),
                  row_ == nullptr
                      ? "no silicon here has it, or not without what is switched off"
                      : fmt::format("'{}' does not have it, or not without what is switched off", row_->silicon));
    }
    // The domain has all SGX that is not switched off.
    const bool implied = of_sgx && (complete() || feature.name == "sgx" || feature.name == provisioning_flag);
    if (!implied) change(feature.name, true);
  }

  /// Some SGX a domain has only if it asks. Leaves the demand where it is met.
  bool there_by_name(const std::string& name, const policy::Feature& known) {
    change(name, true);
    if (policy::has(policy(), known)) return true;
    config_.cpuid.pop_back();
    return false;
  }

  void lose_word(const CpuFeature& feature) {
    lose(fmt::format("feature {}", shown(feature.name)), "'cpuid' has no word for it");
  }

  // ------------------------------------------------------------------------------------------------ SGX

  void sgx_keys() {
    const CpuidTable table = policy();
    const LaunchControl& launch = vm_.launch;
    const bool sgx = policy::has(table, *policy::find_feature("sgx"));
    const bool control = policy::has(table, *policy::find_feature("sgxlc"));
    const bool own_hash = launch.hash && *launch.hash != arch::msr::intel_lepubkeyhash;
    // EINIT takes the hash in a domain without the registers too.
    if (launch_control_) config_.lehash = launch.hash;
    if (own_hash && !launch_control_)
      lose(fmt::format("launch hash {}", launch_hash_text(*launch.hash)), "the domain has no launch control");
    if (launch.writable && control) {
      config_.lewr = *launch.writable;
      say("lewr");
    }
    if (launch.writable == true && !control)
      lose("a launch hash that the guest may write", "the domain has no launch control");
    config_.sgx_provision = has_feature(cpu_, provisioning_flag) && sgx;
    if (vm_.provision == true && !sgx) lose("the provisioning key", "the domain has no SGX");
  }

  void clock() {
    Clock kept = vm_.clock;
    kept.ahead = std::clamp(kept.ahead, -limits::most_timeoffset, limits::most_timeoffset);
    if (kept != vm_.clock)
      lose_minor(clock_in_words(vm_.clock),
                 fmt::format("a domain's is {} s ahead or behind at most", limits::most_timeoffset));
    config_.localtime = kept.localtime;
    config_.rtc_timeoffset = kept.ahead;
  }

  const Vm& vm_;
  const vmx::Backend& silicon_;
  Cpu cpu_;
  DomainConfig config_;  ///< what was said so far
  std::vector<const Epc*> kept_;
  const ModelRow* row_ = nullptr;
  bool launch_control_ = false;  ///< the silicon has it
  std::vector<Loss> losses_;
};

}  // namespace

Rendered to_config(const Vm& vm, const vmx::Backend& silicon) { return ConfigWriter(vm, silicon).rendered(); }

}  // namespace cloister::toolstack::vm
