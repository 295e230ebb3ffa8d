// `cloister cpu map`: what libvirt's map lacks, as lines for its x86_features.xml.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/cpu_map_xml.hpp"
#include "policy/flags.hpp"
#include "policy/map_check.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

namespace {

using nlohmann::ordered_json;
using policy::MapCheck;
using policy::MapFeature;
using policy::MapFinding;

std::string place_in_map(const MapFeature& feature) {
  std::string text =
      feature.cpuid ? policy::text_of(*feature.cpuid) : fmt::format("MSR {:#x}", feature.msr.value_or(0));
  for (const policy::MapBits& bits : feature.also) text += "; " + policy::text_of(bits);
  return text;
}

/// A name for the inside of an XML comment, which must not have two hyphens in a row.
std::string for_comment(std::string_view name) {
  std::string text = printable(name);
  for (std::size_t at = 0; (at = text.find("--", at)) != text.npos; ++at) text.insert(at + 1, 1, ' ');
  return text;
}

std::string text_of(std::string_view title, const std::vector<MapFinding>& findings) {
  if (findings.empty()) return "";
  std::string text = fmt::format("  <!-- {} -->\n", title);
  for (const MapFinding& finding : findings) {
    if (finding.found != nullptr) {
      text += fmt::format("  <!-- instead of '{}', which is at {} -->\n", for_comment(finding.found->name),
                          place_in_map(*finding.found));
    }
    text += finding.element;
  }
  return text;
}

/// Elements for the file, in the form that it has; the last line is a comment too.
std::string text_of(const MapCheck& check, const std::string& path) {
  std::size_t missing = 0, wrong = 0;
  for (const auto* findings : {&check.sgx, &check.other}) {
    for (const MapFinding& finding : *findings) ++(finding.found == nullptr ? missing : wrong);
  }
  const std::string counts = fmt::format("{} missing, {} wrong, {} as expected", missing, wrong, check.good);
  if (check.complete()) return fmt::format("{}: {}\n", path, counts);
  return text_of("SGX features", check.sgx) + text_of("other features", check.other) +
         fmt::format("  <!-- {}: {} -->\n", for_comment(path), counts);
}

ordered_json json_of(const MapCheck& check, const std::string& path) {
  ordered_json missing = ordered_json::array(), wrong = ordered_json::array();
  for (const auto* findings : {&check.sgx, &check.other}) {
    for (const MapFinding& finding : *findings) {
      ordered_json json{{"name", policy::spelling(finding.expected, policy::Tool::libvirt)},
                        {"place", policy::place_of(finding.expected)},
                        {"sgx", findings == &check.sgx},
                        {"element", finding.element}};
      if (finding.found != nullptr) {
        json["found"] = {{"name", finding.found->name}, {"place", place_in_map(*finding.found)}};
      }
      (finding.found == nullptr ? missing : wrong).push_back(std::move(json));
    }
  }
  return {{"map", path}, {"missing", missing}, {"wrong", wrong}, {"good", check.good}};
}

}  // namespace

int map(const std::string& folder, bool json) {
  const std::string path = folder.empty() ? libvirt_cpu_map_folder : folder;
  const auto map = load_cpu_map(path);
  if (!map) {
    spdlog::error("{}", map.error());
    return exit_status::bad_configuration;
  }
  warn_of_unread(*map, path);
  const MapCheck check = policy::check_map(*map);
  const std::string text = json ? json_text(json_of(check, path), 2) + "\n" : text_of(check, path);
  return print(text) && check.complete() ? status::good : status::failed;
}

}  // namespace cloister::toolstack::cpu
