// Words of -cpu as target/i386/cpu.c takes them.
#include "interop/vm/qemu_cpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "interop/vm/qemu_options.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

/// Switches of -cpu that are no CPU features (target/i386/cpu.c and kvm/kvm.c, properties).
constexpr std::string_view properties[] = {"check",
                                           "enforce",
                                           "migratable",
                                           "pmu",
                                           "kvm",
                                           "l3-cache",
                                           "legacy-cache",
                                           "host-cache-info",
                                           "host-phys-bits",
                                           "fill-mtrr-mask",
                                           "lmce",
                                           "cpuid-0xb",
                                           "full-cpuid-auto-level",
                                           "tcg-cpuid",
                                           "expose-tcg",
                                           "vmware-cpuid-freq",
                                           "start-powered-off",
                                           "hotplugged",
                                           "realized"};

bool is_property(std::string_view word) {
  // Of hypervisors' own leaves, at which libvirt has no names for features, and of experiments.
  const auto begins = [&](std::string_view prefix) { return word.starts_with(prefix); };
  return std::ranges::find(properties, word) != std::end(properties) ||
         std::ranges::any_of(std::array<std::string_view, 4>{"hv-", "kvm-", "kvmclock", "x-"}, begins);
}

std::string dashed(std::string_view word) {
  std::string result(word);
  std::ranges::replace(result, '_', '-');
  return result;
}

class CpuReader {
 public:
  CpuReader(std::string_view value, u32 line) : value_(value), line_(line) {}

  tl::expected<ReadQemuCpu, Diagnostic> cpu() {
    for (const QemuField& field : qemu_fields(value_)) {
      if (field.offset == 0) {
        model(field);
      } else if (!field.name.empty()) {
        word(field);
      }
    }
    // +sgx counts more than sgx=off, and -sgx more than both, wherever they stand.
    for (const auto* list : {&plus_, &minus_}) {
      for (const CpuFeature& feature : *list) take(feature, read_.cpu.features);
    }
    if (error_) return tl::unexpected(std::move(*error_));
    return std::move(read_);
  }

 private:
  Position at(u32 offset) const { return {.line = line_, .column = offset + 1}; }
  void wrong(u32 offset, std::string_view found, std::string_view expected) {
    if (!error_) error_ = Diagnostic{at(offset), fmt::format("'-cpu': found {}, expected {}", shown(found), expected)};
  }
  void ignore(const QemuField& field) {
    read_.ignored.push_back({at(field.offset), fmt::format("{} of '-cpu' is ignored", shown(field.name))});
  }

  void model(const QemuField& field) {
    Cpu& cpu = read_.cpu;
    if (field.value || !is_word(field.name)) return wrong(0, value_, "a CPU model, then ',FEATURE=on|off'");
    cpu.mode = field.name == "host"  ? CpuMode::host_passthrough
               : field.name == "max" ? CpuMode::maximum
                                     : CpuMode::custom;
    if (cpu.mode == CpuMode::custom) cpu.model = field.name;
  }

  void word(const QemuField& field) {
    const char sign = field.name.front();
    if (!field.value && (sign == '+' || sign == '-')) {
      feature(field, field.name.substr(1), sign == '+', sign == '+' ? plus_ : minus_);
    } else if (!field.value) {
      feature(field, field.name, true, read_.cpu.features);
    } else if (const auto on = qemu_switch(*field.value)) {
      feature(field, field.name, *on, read_.cpu.features);
    } else if (is_odd_switch(field)) {
      wrong(field.offset, field.name + "=" + *field.value, "'on' or 'off' as the value");
    } else {
      ignore(field);
    }
  }

  void feature(const QemuField& field, const std::string& word, bool on, std::vector<CpuFeature>& to) {
    if (!is_word(word)) return wrong(field.offset, word, "a CPU feature's name");
    if (read_.cpu.features.size() + plus_.size() + minus_.size() >= most_features)
      return wrong(field.offset, word, fmt::format("{} features at most", most_features));
    const std::string name = name_of_word(word, policy::Tool::qemu), plain = dashed(word);
    const bool known = policy::find_feature(name) != nullptr;
    if (!known && is_property(plain)) return ignore(field);
    take({.name = known ? name : plain,
          .policy = on ? FeaturePolicy::require : FeaturePolicy::disable,
          .at = at(field.offset)},
         to);
  }

  static void take(const CpuFeature& feature, std::vector<CpuFeature>& to) {
    const auto old = std::ranges::find(to, feature.name, &CpuFeature::name);
    if (old == to.end()) {
      to.push_back(feature);
    } else {
      *old = feature;
    }
  }

  std::string_view value_;
  u32 line_;
  ReadQemuCpu read_;
  std::vector<CpuFeature> plus_, minus_;
  std::optional<Diagnostic> error_;
};

}  // namespace

bool is_odd_switch(const QemuField& field) {
  const bool sign = field.name.starts_with('+') || field.name.starts_with('-');
  if (!field.value || (!sign && qemu_switch(*field.value))) return false;
  return policy::find_spelling(std::string_view(field.name).substr(sign ? 1 : 0), policy::Tool::qemu) != nullptr;
}

std::optional<CpuGlobal> read_cpu_global(std::string_view value) {
  std::string driver, property, text;
  for (const QemuField& field : qemu_fields(value)) {
    if (field.name == "driver") driver = field.value.value_or("");
    if (field.name == "property") property = field.value.value_or("");
    if (field.name == "value") text = field.value.value_or("");
    const std::size_t dot = field.name.rfind('.');
    if (dot == std::string::npos || !driver.empty()) continue;
    driver = field.name.substr(0, dot);
    property = field.name.substr(dot + 1);
    text = field.value.value_or("");
  }
  const auto on = qemu_switch(text);
  // The class of all, and those of models (target/i386/cpu-qom.h, X86_CPU_TYPE_SUFFIX).
  constexpr std::string_view classes[] = {"x86_64-cpu", "i386-cpu"};
  for (const std::string_view name : classes) {
    if (!on || !driver.ends_with(name) || property.empty()) continue;
    std::string model = driver.substr(0, driver.size() - name.size());
    if (!model.empty() && !model.ends_with('-')) continue;
    if (!model.empty()) model.pop_back();
    return CpuGlobal{std::move(model), std::move(property), *on};
  }
  return std::nullopt;
}

tl::expected<ReadQemuCpu, Diagnostic> read_qemu_cpu(std::string_view value, u32 line) {
  return CpuReader(value, line).cpu();
}

}  // namespace cloister::toolstack::vm
