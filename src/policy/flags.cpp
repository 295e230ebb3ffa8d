// Asking the tables: spellings, places, requirements, processors.
#include "policy/flags.hpp"

#include <algorithm>

#include "policy/dependence.hpp"
#include "policy/descriptions.hpp"
#include "policy/feature_rows.hpp"
#include "policy/hexadecimal.hpp"
#include "policy/leaves.hpp"

namespace cloister::policy {

namespace {

/// Whether the answer's place needs a sub-leaf to be told.
bool has_subleaf(const CpuidBit& bit) { return bit.subleaf != 0 || has_subleaves(bit.leaf); }

/// Guests that use these cannot migrate; libvirt's map says so.
constexpr std::string_view not_migratable[] = {"xsaves", "invtsc"};

std::string_view word_of(const FeatureRow& row, Tool tool) {
  switch (tool) {
    case Tool::libvirt: return row.libvirt;
    case Tool::qemu: return row.qemu;
    case Tool::xen: return row.xen;
    case Tool::cpuinfo: return row.cpuinfo;
    case Tool::cpuid: {
      const auto flag = std::ranges::find(sgx_flags(), row.name, &SgxFlag::name);
      return flag == sgx_flags().end() ? std::string_view{} : flag->cpuid;
    }
  }
  return {};
}

const Feature* find_word(std::string_view word, Tool tool) {
  const auto rows = feature_rows();
  const auto found = std::ranges::find_if(rows, [&](const FeatureRow& row) { return word_of(row, tool) == word; });
  return found == rows.end() ? nullptr : find_feature(found->name);
}

}  // namespace

std::string_view name_of(Tool tool) {
  switch (tool) {
    case Tool::libvirt: return "libvirt";
    case Tool::qemu: return "QEMU";
    case Tool::xen: return "Xen";
    case Tool::cpuinfo: return "/proc/cpuinfo";
    case Tool::cpuid: return "cpuid";
  }
  return "";
}

std::string_view name_of(FlagKind kind) {
  switch (kind) {
    case FlagKind::processor: return "processor";
    case FlagKind::instructions: return "instructions";
    case FlagKind::exceptions: return "exceptions";
    case FlagKind::attribute: return "attribute";
  }
  return "";
}

std::string_view spelling(const Feature& feature, Tool tool) {
  const FeatureRow* const row = row_of(feature);
  return row == nullptr ? std::string_view{} : word_of(*row, tool);
}

const Feature* find_spelling(std::string_view word, Tool tool) {
  if (word.empty()) return nullptr;
  std::string dashed(word);
  if (tool == Tool::qemu) std::ranges::replace(dashed, '_', '-');
  if (const Feature* const found = find_word(dashed, tool)) return found;
  if (const Feature* const found = find_feature(word)) return find_feature(row_of(*found)->name);
  return find_word(word, Tool::cpuid);
}

std::vector<std::string_view> requirements(const Feature& feature) {
  std::vector<std::string_view> names;
  for (const Dependence& dependence : dependences()) {
    if (*find_feature(dependence.feature) == feature) names.push_back(dependence.needs);
  }
  return names;
}

std::vector<std::string_view> processors_with(const Feature& feature) {
  std::vector<std::string_view> names;
  for (const Description& description : descriptions()) {
    if (has(leaves_of(description), feature)) names.push_back(description.name);
  }
  return names;
}

std::string place_of(const CpuidBit& bit) {
  constexpr const char* registers[] = {"EAX", "EBX", "ECX", "EDX"};
  std::string place = "leaf " + hexadecimal(bit.leaf);
  if (has_subleaf(bit)) place += ", sub-leaf " + std::to_string(bit.subleaf);
  return place + ", " + registers[static_cast<unsigned>(bit.reg)] + " bit " + std::to_string(bit.bit);
}

std::string libvirt_element(const Feature& feature) {
  constexpr const char* registers[] = {"eax", "ebx", "ecx", "edx"};
  const std::string_view word = spelling(feature, Tool::libvirt);
  const bool stays = std::ranges::find(not_migratable, feature.name) != std::end(not_migratable);
  std::string element = "  <feature name='" + std::string(word.empty() ? feature.name : word) + "'";
  element += std::string(stays ? " migratable='no'" : "") + ">\n    <cpuid";
  element += " eax_in='" + hexadecimal(feature.leaf, 2) + "'";
  if (has_subleaf(feature)) element += " ecx_in='" + hexadecimal(feature.subleaf, 2) + "'";
  element += std::string(" ") + registers[static_cast<unsigned>(feature.reg)] + "='" +
             hexadecimal(u32{1} << feature.bit, 8) + "'/>\n  </feature>\n";
  return element;
}

}  // namespace cloister::policy
