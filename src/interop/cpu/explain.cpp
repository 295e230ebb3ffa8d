// `cloister cpu explain`: a flag by any tool's name for it, or the flag at a bit. What our table does not have,
// libvirt's map of this host may.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu_map_xml.hpp"
#include "policy/cpuid_bit.hpp"
#include "policy/feature_rows.hpp"
#include "policy/flags.hpp"
#include "policy/libvirt_features.hpp"
#include "policy/map_check.hpp"
#include "text/json_text.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::cpu {

namespace {

using nlohmann::ordered_json;
using policy::CpuidBit;
using policy::Feature;
using policy::MapFeature;
using policy::SgxFlag;
using policy::Tool;

/// `status`, if all was printed.
int answer(std::string_view text, int status) { return print(text) ? status : status::failed; }
int answer_json(const ordered_json& json, int status) { return answer(json_text(json, 2) + "\n", status); }

int refuse(std::string_view what, std::string_view why) {
  spdlog::error("{}", what.empty() ? std::string(why) : fmt::format("'{}': {}", printable(what), why));
  return exit_status::bad_configuration;
}

std::string_view describe(policy::FlagKind kind) {
  using enum policy::FlagKind;
  switch (kind) {
    case processor: return "processor: what leaf 7 says of SGX as a whole";
    case instructions: return "instructions: leaf functions of ENCLS, ENCLU or ENCLV";
    case exceptions: return "exceptions: what SECS.MISCSELECT may ask for";
    case attribute: return "attribute: a bit that ECREATE takes in SECS.ATTRIBUTES; no instruction";
  }
  return "";
}

std::string joined(const std::vector<std::string_view>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

std::string mask_of(const CpuidBit& bit) { return fmt::format("{:#x}", u32{1} << bit.bit); }

/// Where the bit is, as `explain` can be asked for it.
std::string bit_of(const CpuidBit& bit) {
  constexpr const char* registers[] = {"eax", "ebx", "ecx", "edx"};
  return fmt::format("{:#x}.{}.{}[{}]", bit.leaf, bit.subleaf, registers[static_cast<unsigned>(bit.reg)], bit.bit);
}

ordered_json place_json(const CpuidBit& bit) {
  constexpr const char* registers[] = {"eax", "ebx", "ecx", "edx"};
  return {{"leaf", fmt::format("{:#x}", bit.leaf)},
          {"subleaf", bit.subleaf},
          {"register", registers[static_cast<unsigned>(bit.reg)]},
          {"bit", bit.bit},
          {"mask", mask_of(bit)}};
}

// ------------------------------------------------------------------------------------------------ our table's

std::string text_of(const Feature& feature) {
  const SgxFlag* const sgx = policy::find_sgx_flag(feature.name);
  std::vector<std::pair<std::string, std::string>> lines{
      {"flag", std::string(feature.name)},
      {"place", fmt::format("{}: 2^{} = {}", policy::place_of(feature), feature.bit, mask_of(feature))}};
  const auto add = [&lines](std::string_view name, std::string_view value) { lines.emplace_back(name, value); };
  if (sgx != nullptr) {
    add("kind", describe(sgx->kind));
    add("meaning", sgx->meaning);
    add("without it", sgx->without);
  }
  if (const auto needs = policy::requirements(feature); !needs.empty()) add("requires", joined(needs));
  if (const auto with = policy::processors_with(feature); !with.empty()) add("silicon", joined(with));
  for (const Tool tool : policy::tools) {
    const std::string_view word = policy::spelling(feature, tool);
    // What the tool `cpuid` prints is known for SGX only.
    if (tool == Tool::cpuid && sgx == nullptr) continue;
    add(policy::name_of(tool), word.empty() ? "-" : word);
  }
  if (const policy::FeatureRow* const row = policy::row_of(feature); !row->also.empty()) add("also", row->also);
  std::string text = pairs(lines);
  if (!policy::spelling(feature, Tool::libvirt).empty()) text.append("\n").append(policy::libvirt_element(feature));
  return text;
}

ordered_json json_of(const Feature& feature) {
  const SgxFlag* const sgx = policy::find_sgx_flag(feature.name);
  const auto word = [&](Tool tool) {
    const std::string_view text = policy::spelling(feature, tool);
    return text.empty() ? ordered_json(nullptr) : ordered_json(text);
  };
  ordered_json json{{"name", feature.name}, {"place", place_json(feature)}};
  json["kind"] = sgx == nullptr ? ordered_json(nullptr) : ordered_json(policy::name_of(sgx->kind));
  json["meaning"] = sgx == nullptr ? ordered_json(nullptr) : ordered_json(sgx->meaning);
  json["without"] = sgx == nullptr ? ordered_json(nullptr) : ordered_json(sgx->without);
  json["requires"] = policy::requirements(feature);
  json["silicon"] = policy::processors_with(feature);
  json["spellings"] = {{"libvirt", word(Tool::libvirt)},
                       {"qemu", word(Tool::qemu)},
                       {"xen", word(Tool::xen)},
                       {"cpuinfo", word(Tool::cpuinfo)},
                       {"cpuid", word(Tool::cpuid)}};
  const bool in_libvirt = !policy::spelling(feature, Tool::libvirt).empty();
  json["libvirt_element"] = in_libvirt ? ordered_json(policy::libvirt_element(feature)) : ordered_json(nullptr);
  return json;
}

int show(const Feature& feature, bool json) {
  return json ? answer_json(json_of(feature), status::good) : answer(text_of(feature), status::good);
}

// ------------------------------------------------------------------------------------------------ libvirt's alone

constexpr const char* another_libvirt = "a libvirt that is not installed here";

/// `source`: whose word it is.
int show(const MapFeature& feature, bool json, const char* source = libvirt_cpu_map_folder) {
  std::vector<std::string> places;
  if (feature.cpuid) places.push_back(policy::text_of(*feature.cpuid));
  for (const policy::MapBits& bits : feature.also) places.push_back(policy::text_of(bits));
  if (feature.msr) places.push_back(fmt::format("MSR {:#x}", *feature.msr));
  if (json) {
    return answer_json(ordered_json{{"name", feature.name},
                                    {"places", places},
                                    {"aliases", feature.aliases},
                                    {"migratable", feature.migratable},
                                    {"source", source}},
                       status::good);
  }
  std::vector<std::pair<std::string, std::string>> lines{
      {"flag", feature.name}, {"place", fmt::format("{}", fmt::join(places, "; "))}, {"libvirt", feature.name}};
  if (!feature.aliases.empty()) lines.emplace_back("also", fmt::format("{}", fmt::join(feature.aliases, ", ")));
  lines.emplace_back("known from", source);
  return answer(pairs(lines), status::good);
}

/// libvirt's map; empty where there is none that can be read: `map` says why.
policy::CpuMap map_of_this_host() { return load_cpu_map(libvirt_cpu_map_folder).value_or(policy::CpuMap{}); }

const MapFeature* find_bit(const policy::CpuMap& map, const CpuidBit& bit) {
  const auto found = std::ranges::find_if(map.features, [&](const MapFeature& feature) {
    return feature.cpuid && feature.cpuid->leaf == bit.leaf && feature.cpuid->subleaf == bit.subleaf &&
           (arch::value_of(feature.cpuid->mask, bit.reg) >> bit.bit & 1) != 0;
  });
  return found == map.features.end() ? nullptr : &*found;
}

// ------------------------------------------------------------------------------------------------ finding

int explain_unnamed(const CpuidBit& bit, bool json) {
  if (json) {
    return answer_json(ordered_json{{"name", nullptr}, {"place", place_json(bit)}}, status::unknown);
  }
  std::string text =
      fmt::format("{}: 2^{} = {}: no tool names this bit\n", policy::place_of(bit), bit.bit, mask_of(bit));
  // The manual writes leaves in hexadecimal, as in CPUID.12.1.
  const auto hexadecimal =
      policy::read_bit(fmt::format("0x{}.{}", bit.leaf, bit_of(bit).substr(bit_of(bit).find('.') + 1)));
  const policy::FeatureRow* const meant = hexadecimal ? policy::row_of(*hexadecimal) : nullptr;
  if (bit.leaf > 9 && meant != nullptr) text += fmt::format("{} is {}\n", bit_of(*hexadecimal), meant->name);
  return answer(text, status::unknown);
}

int explain_bit(const std::string& what, bool json) {
  const auto bit = policy::read_bit(what);
  if (!bit) return refuse(what, bit.error());
  if (const policy::FeatureRow* const row = policy::row_of(*bit)) return show(*policy::find_feature(row->name), json);
  const policy::CpuMap map = map_of_this_host();
  if (const MapFeature* const feature = find_bit(map, *bit)) return show(*feature, json);
  const MapFeature* const feature = find_bit(policy::more_of_libvirts_features(), *bit);
  return feature == nullptr ? explain_unnamed(*bit, json) : show(*feature, json, another_libvirt);
}

std::string unknown_flag(std::string_view name, const policy::CpuMap& map) {
  std::vector<std::string_view> known;
  for (const Feature& feature : policy::features()) known.push_back(feature.name);
  for (const MapFeature& feature : map.features) known.push_back(feature.name);
  const auto near = text::nearest(name, known);
  return fmt::format("unknown CPU flag '{}'{}", printable(name),
                     near ? fmt::format(", did you mean '{}'?", *near) : "");
}

int explain_name(const std::string& name, bool json) {
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  for (const std::string& word : {name, lower}) {
    // QEMU's rule is the most liberal one, and every other tool's words are tried after it.
    if (const Feature* const feature = policy::find_spelling(word, Tool::qemu)) return show(*feature, json);
  }
  const policy::CpuMap map = map_of_this_host();
  // A word of libvirt's is one where its map is not installed too, or is an older one.
  if (const MapFeature* const feature = map.find_feature(name)) return show(*feature, json);
  if (const MapFeature* const feature = policy::more_of_libvirts_features().find_feature(name))
    return show(*feature, json, another_libvirt);
  return refuse({}, unknown_flag(name, map));
}

}  // namespace

int explain(const std::string& what, bool json) {
  return policy::looks_like_bit(what) ? explain_bit(what, json) : explain_name(what, json);
}

}  // namespace cloister::toolstack::cpu
