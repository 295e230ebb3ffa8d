// From CPUID leaves to what a package offers.
#include "plan/chosen_silicon.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "arch/try.hpp"
#include "policy/cpuid_dump.hpp"
#include "policy/libvirt_models.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using arch::CpuidRegs;
using policy::CpuidTable;
using policy::SgxState;
namespace leaf = arch::leaf;

using Failed = tl::unexpected<Diagnostic>;

Diagnostic at_silicon(const DomainConfig& config, const std::string& message) {
  return {config.position_of("silicon"), "cannot use silicon '" + cut_path(config.silicon) + "': " + message};
}
Diagnostic warning(const DomainConfig& config, const std::string& message) {
  return {config.position_of("silicon"), "silicon '" + cut_path(config.silicon) + "': " + message};
}

/// Without these a description describes no processor that a guest could run on.
constexpr u32 needed[] = {leaf::basic_max, leaf::version, leaf::features, leaf::extended_max, leaf::extended_features};

std::string list_of(const std::vector<u32>& numbers) {
  constexpr std::size_t most = 8;
  std::string text;
  for (std::size_t i = 0; i < numbers.size() && i < most; ++i) {
    text += (i == 0 ? "" : i + 1 == numbers.size() ? " and " : ", ") + std::to_string(numbers[i]);
  }
  return numbers.size() > most ? text + " and more" : text;
}

tl::expected<CpuidTable, Diagnostic> read_dump(const DomainConfig& config, const FileReader& read,
                                               std::vector<Diagnostic>& warnings) {
  const auto bytes = read(config.silicon);
  if (!bytes) return Failed(at_silicon(config, bytes.error()));
  const auto dump = policy::read_cpuid_dump({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!dump) {
    return Failed(at_silicon(config, "line " + std::to_string(dump.error().line) + ": " + dump.error().message));
  }
  const policy::DumpedCpu& first = dump->cpus.front();
  for (const u32 number : needed) {
    if (first.table.leaves().contains({number, 0})) continue;
    char text[8];
    const std::string hex(text, std::to_chars(text, std::end(text), number, 16).ptr);
    return Failed(at_silicon(config, "it does not show leaf 0x" + hex + " of CPU " + std::to_string(first.number)));
  }
  if (const auto others = policy::sgx_disagreements(*dump); !others.empty()) {
    warnings.push_back(warning(config, "the SGX leaves of CPU " + list_of(others) + " are not those of CPU " +
                                           std::to_string(first.number) + ", whose leaves are taken"));
  }
  return first.table;
}

/// The leaves of a package that offers this, with some EPC, as far as descriptions are compared with it.
CpuidTable offered_leaves(const vmx::Backend& silicon, const vmx::Features& features) {
  vmx::Package::Config config;
  config.epc = {{arch::Mfn{1}, 1}};
  config.features = features;
  CpuidTable leaves;
  constexpr std::pair<u32, u32> compared[] = {
      {leaf::basic_max, 0}, {leaf::version, 0}, {leaf::features, 0},     {leaf::xsave, 1},
      {leaf::sgx, 0},       {leaf::sgx, 1},     {leaf::extended_max, 0}, {leaf::extended_features, 0}};
  for (const auto& [number, subleaf] : compared) {
    leaves.set(number, subleaf, silicon.cpuid(config, number, subleaf));
  }
  return leaves;
}

/// Why a domain with EPC cannot have such a processor.
std::optional<std::string> refusal(SgxState sgx) {
  switch (sgx) {
    case SgxState::absent: return "its processor has no SGX, and the domain has EPC";
    case SgxState::switched_off:
      return "its processor's SGX was switched off (leaf 0x12 is zero), and the domain has EPC";
    case SgxState::unknown:
      return "what it offers of SGX is unknown (it ends before sub-leaves 0 and 1 of leaf 0x12), and the domain has "
             "EPC";
    case SgxState::offered: break;
  }
  return std::nullopt;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

/// A model of libvirt's and the flags beside it.
class ModelWithFlags {
 public:
  ModelWithFlags(const DomainConfig& config, const policy::LibvirtModel& model) : config_(config), model_(model) {}

  CpuidTable leaves() const { return policy::leaves_of(model_, config_.silicon, config_.cpu_flags); }

  /// Why a domain with EPC cannot have it.
  std::optional<Diagnostic> refusal() const {
    if (config_.epc.empty()) return std::nullopt;
    const auto refuse = [&](const std::string& what) {
      return Diagnostic{config_.position_of(config_.where.contains("cpu_flags") ? "cpu_flags" : "silicon"), what};
    };
    if (!on("sgx"))
      return refuse("silicon '" + config_.silicon +
                    "' is a model without SGX, and the domain has EPC: name its flags in 'cpu_flags', as "
                    "\"sgx,sgxlc,sgx1,sgx-debug,sgx-mode64\"");
    if (!on("sgx1"))
      return refuse(
          "'cpu_flags': found sgx without sgx1, and a model has no flag of SGX by itself: ENCLS and ENCLU would "
          "be undefined; add sgx1, and sgx-mode64 for enclaves of 64 bits");
    return std::nullopt;
  }

  /// What of the model and its flags the package does not have, beyond what the description's words tell; and what
  /// enclaves would miss.
  void name_lacks(const vmx::Backend& silicon, ChosenSilicon& chosen) const {
    vmx::Package::Config package;
    package.epc = {{arch::Mfn{1}, 1}};
    package.features = chosen.features;
    std::vector<std::string>& other = chosen.described.masking.masked.other;
    const auto there = [&](std::string_view name) {
      const policy::Feature* const feature = policy::find_feature(name);
      return feature != nullptr && arch::has(silicon.cpuid(package, feature->leaf, feature->subleaf), *feature);
    };
    for (const std::string_view name : policy::beyond_words(model_)) {
      const bool off = std::ranges::count(config_.cpu_flags, policy::CpuidOverride{std::string(name), false}) != 0;
      if (!off && !there(name)) other.emplace_back(name);
    }
    std::vector<std::string> missing;
    for (const policy::CpuidOverride& flag : config_.cpu_flags) {
      // ENCLV stays the hypervisor's.
      if (!flag.on || (there(flag.feature) && flag.feature != "sgx-enclv")) continue;
      missing.push_back(flag.feature);
      if (!flag.feature.starts_with("sgx") && std::ranges::count(other, flag.feature) == 0)
        other.push_back(flag.feature);
    }
    if (!missing.empty()) warn(chosen, "not offered by the machine, and left out: " + joined(missing));
    if (config_.epc.empty()) return;
    if (!on("sgx-mode64"))
      warn(chosen, "without sgx-mode64 no enclave of 64 bits can be made: a model has no attribute by itself");
    if (!on("sgxlc") && !on("sgx-tokenkey"))
      warn(chosen, "without sgxlc and sgx-tokenkey no launch enclave runs, and so no enclave but Intel's own starts");
  }

 private:
  bool on(std::string_view name) const {
    return std::ranges::count(config_.cpu_flags, policy::CpuidOverride{std::string(name), true}) != 0;
  }
  void warn(ChosenSilicon& chosen, const std::string& what) const {
    chosen.warnings.push_back({config_.position_of("cpu_flags"), "'cpu_flags': " + what});
  }

  const DomainConfig& config_;
  const policy::LibvirtModel& model_;
};

tl::expected<ChosenSilicon, Diagnostic> choose(const vmx::Backend& silicon, const DomainConfig& config,
                                               const std::string& machine, const FileReader& read) {
  ChosenSilicon chosen{.features = machine_features(machine), .described = {}, .warnings = {}};
  const bool own = config.silicon != "default";
  if (!own && machine.empty()) return chosen;
  CpuidTable described;
  chosen.described.name = own ? config.silicon : machine;
  std::optional<ModelWithFlags> model;
  if (const policy::LibvirtModel* const named = policy::find_libvirt_model(config.silicon))
    model.emplace(config, *named);
  if (model) {
    if (auto why = model->refusal()) return Failed(std::move(*why));
    described = with_syscall(model->leaves());
  } else if (own && names_a_dump(config.silicon)) {
    described = with_syscall(TRY(read_dump(config, read, chosen.warnings)));
  } else {
    const policy::Description* const description = policy::find_description(chosen.described.name);
    if (description == nullptr) return Failed(at_silicon(config, policy::unknown_description(chosen.described.name)));
    described = with_syscall(policy::leaves_of(*description));
  }
  chosen.described.sgx = policy::sgx_state(described);
  if (const auto why = refusal(chosen.described.sgx); why && !config.epc.empty())
    return Failed(at_silicon(config, *why));
  chosen.described.masking =
      policy::compare(described, offered_leaves(silicon, own ? chosen.features : vmx::Features{}));
  if (!own) return chosen;
  vmx::Features asked = features_of(described);
  if (asked.signature == 0) asked.signature = vmx::Features{}.signature;
  chosen.features = within(chosen.features, asked);
  if (model) {
    model->name_lacks(silicon, chosen);
    return chosen;
  }
  // What is not implemented on any machine is no news.
  const auto lost =
      policy::compare(offered_leaves(silicon, asked), offered_leaves(silicon, chosen.features)).masked.sgx;
  if (!lost.empty() && !config.epc.empty()) {
    chosen.warnings.push_back(
        warning(config, "the machine's silicon, '" + machine + "', has not all of it: " + joined(lost)));
  }
  return chosen;
}

}  // namespace

tl::expected<ChosenSilicon, Diagnostic> choose_silicon(const vmx::Backend& silicon, const DomainConfig& config,
                                                       const std::string& machine, const FileReader& read,
                                                       const std::optional<HostFeatures>& host) {
  auto chosen = choose(silicon, config, machine, read);
  if (chosen && host) chosen->features = with_host_features(std::move(chosen->features), *host);
  return chosen;
}

}  // namespace cloister::toolstack
