// A baseline as JSON, and the wish that it makes when it comes back as a policy.
#include <fmt/format.h>

#include "arch/msr.hpp"
#include "config/launch_hash.hpp"
#include "interop/cpu/pool.hpp"

namespace cloister::toolstack::cpu {

namespace {

using nlohmann::ordered_json;
using policy::Baseline;
using policy::LaunchInCommon;
using policy::NamedCpu;

std::string_view name_of_state(policy::SgxState state) {
  switch (state) {
    case policy::SgxState::absent: return "absent";
    case policy::SgxState::switched_off: return "switched off";
    case policy::SgxState::offered: return "offered";
    case policy::SgxState::unknown: break;
  }
  return "unknown";
}

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

std::string hash_text(const std::array<u64, 4>& hash) {
  std::string digits;
  for (const u64 word : hash) {
    for (unsigned byte = 0; byte < 8; ++byte) digits += fmt::format("{:02x}", word >> (8 * byte) & 0xff);
  }
  return digits;
}

ordered_json cpu_json(const std::optional<NamedCpu>& cpu) {
  if (!cpu) return nullptr;
  ordered_json result{{"vendor", cpu->vendor}, {"model", cpu->model}, {"features", ordered_json::array()}};
  for (const std::string& name : cpu->required) result["features"].push_back({{"name", name}, {"policy", "require"}});
  for (const std::string& name : cpu->disabled) result["features"].push_back({{"name", name}, {"policy", "disable"}});
  return result;
}

ordered_json host_json(const policy::HostSummary& host) {
  ordered_json result{{"name", host.name},         {"sgx", name_of_state(host.state)},
                      {"why_not", host.obstacle},  {"launch", policy::name_of(host.launch)},
                      {"cpu", cpu_json(host.cpu)}, {"epc", nullptr}};
  if (!host.epc) return result;
  result["epc"] = ordered_json::array();
  for (const policy::EpcSectionView& section : *host.epc) {
    result["epc"].push_back({{"base", or_null(section.base)},
                             {"bytes", section.bytes},
                             {"property", section.property},
                             {"node", or_null(section.node)}});
  }
  return result;
}

ordered_json sgx_json(const Baseline& baseline, const policy::CpuMap& map) {
  const policy::SgxPolicy& sgx = baseline.sgx;
  const bool one = sgx.launch.hash == LaunchInCommon::Hash::one;
  ordered_json result{{"usable", !sgx.flags.empty()},
                      {"why_not", fmt::format("{}", fmt::join(baseline.no_sgx, "; "))},
                      {"flags", sgx.flags},
                      {"xfrm", fmt::format("{:#x}", sgx.xfrm)},
                      {"xfrm_names", policy::names_of_xfrm(sgx.xfrm)},
                      {"log2_size_32", sgx.log2_size_32},
                      {"log2_size_64", sgx.log2_size_64},
                      {"epc_property", or_null(baseline.epc_property)},
                      {"epc_bytes", or_null(baseline.epc_bytes)},
                      {"launch", nullptr},
                      {"unknown_to_libvirt", unsaid_flags(sgx, map)}};
  if (sgx.flags.empty()) return result;
  result["launch"] = {{"hash", policy::name_of(sgx.launch.hash)},
                      {"lepubkeyhash", one ? ordered_json(hash_text(sgx.launch.value)) : ordered_json(nullptr)},
                      {"writable", sgx.launch.writable}};
  return result;
}

ordered_json names_of_hosts(const Baseline& baseline, const std::vector<std::size_t>& which) {
  ordered_json names = ordered_json::array();
  for (const std::size_t i : which) names.push_back(baseline.hosts[i].name);
  return names;
}

// ------------------------------------------------------------------------------------------------ reading

/// The member, or null where there is none.
const nlohmann::json& member(const nlohmann::json& object, const char* name) {
  static const nlohmann::json nothing;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : nothing;
}

using Problem = tl::expected<void, std::string>;
tl::unexpected<std::string> wrong(const char* where, const char* expected) {
  return tl::unexpected(std::string("'") + where + "': expected " + expected);
}

Problem read_strings(const nlohmann::json& list, const char* where, std::vector<std::string>& to) {
  if (list.is_null()) return {};
  if (!list.is_array()) return wrong(where, "an array of names");
  for (const nlohmann::json& word : list) {
    if (!word.is_string()) return wrong(where, "an array of names");
    to.push_back(word.get<std::string>());
  }
  return {};
}

Problem read_log2(const nlohmann::json& value, const char* where, u8& to) {
  if (value.is_null()) return {};
  if (!value.is_number_unsigned() || value.get<u64>() > 64) return wrong(where, "a whole number from 0 to 64");
  to = static_cast<u8>(value.get<u64>());
  return {};
}

Problem read_xfrm(const nlohmann::json& value, u64& to) {
  if (value.is_null()) return {};
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const std::string digits = text.starts_with("0x") ? text.substr(2) : "";
  if (digits.empty() || digits.size() > 16 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
    return wrong("sgx.xfrm", "a hexadecimal number such as \"0x1f\"");
  }
  to = std::stoull(digits, nullptr, 16);
  return {};
}

Problem read_launch(const nlohmann::json& launch, policy::LaunchRequest& to) {
  if (launch.is_null()) return {};
  const nlohmann::json& writable = member(launch, "writable");
  if (!writable.is_null() && !writable.is_boolean()) return wrong("sgx.launch.writable", "true or false");
  if (writable == true) to.writable = true;
  const nlohmann::json& hash = member(launch, "lepubkeyhash");
  if (hash.is_null()) return {};
  const auto read = hash.is_string() ? read_launch_hash(hash.get<std::string>()) : std::nullopt;
  if (!read) return wrong("sgx.launch.lepubkeyhash", launch_hash_form);
  if (*read != arch::msr::intel_lepubkeyhash) to.hash = read;
  return {};
}

Problem read_cpu(const nlohmann::json& cpu, policy::Wish& wish) {
  if (cpu.is_null()) return {};
  const nlohmann::json& model = member(cpu, "model");
  if (!model.is_null() && !model.is_string()) return wrong("cpu.model", "a name");
  if (model.is_string()) wish.model = model.get<std::string>();
  const nlohmann::json& features = member(cpu, "features");
  if (features.is_null()) return {};
  if (!features.is_array()) return wrong("cpu.features", "an array");
  for (const nlohmann::json& feature : features) {
    const nlohmann::json& name = member(feature, "name");
    const nlohmann::json& policy = member(feature, "policy");
    if (!name.is_string() || (policy != "require" && policy != "disable")) {
      return wrong("cpu.features", "objects with a \"name\" and the \"policy\" \"require\" or \"disable\"");
    }
    auto& list = policy == "require" ? wish.flags : wish.without;
    if (std::ranges::find(list, name.get<std::string>()) == list.end()) list.push_back(name.get<std::string>());
  }
  return {};
}

}  // namespace

ordered_json baseline_json(const Baseline& baseline, const policy::CpuMap& map) {
  ordered_json result{{"hosts", ordered_json::array()},
                      {"sgx", sgx_json(baseline, map)},
                      {"cpu", cpu_json(baseline.cpu)},
                      {"cpu_why_not", baseline.no_cpu},
                      {"not_migratable", baseline.immovable}};
  for (const policy::HostSummary& host : baseline.hosts) result["hosts"].push_back(host_json(host));
  result["costs"] = result["migrations"] = ordered_json::array();
  for (const policy::Cost& cost : baseline.costs) {
    result["costs"].push_back({{"flag", cost.flag},
                               {"place", cost.place},
                               {"sgx", cost.sgx},
                               {"without", names_of_hosts(baseline, cost.without)},
                               {"unknown", names_of_hosts(baseline, cost.unknown)}});
  }
  for (const policy::Migration& migration : baseline.migrations) {
    result["migrations"].push_back({{"from", baseline.hosts[migration.from].name},
                                    {"to", baseline.hosts[migration.to].name},
                                    {"safe", name_of(migration.safe)},
                                    {"lost", migration.lost},
                                    {"unknown", migration.unknown}});
  }
  return result;
}

tl::expected<policy::Wish, std::string> wish_of_json(const nlohmann::json& value) {
  policy::Wish wish;
  const nlohmann::json& sgx = member(value, "sgx");
  const nlohmann::json& cpu = member(value, "cpu");
  if (!sgx.is_object()) return wrong("sgx", "an object, as in the JSON of a baseline");
  for (const Problem& problem :
       {read_strings(member(sgx, "flags"), "sgx.flags", wish.flags), read_xfrm(member(sgx, "xfrm"), wish.xfrm),
        read_log2(member(sgx, "log2_size_32"), "sgx.log2_size_32", wish.log2_size_32),
        read_log2(member(sgx, "log2_size_64"), "sgx.log2_size_64", wish.log2_size_64),
        read_launch(member(sgx, "launch"), wish.launch), read_cpu(cpu, wish)}) {
    if (!problem) return tl::unexpected(problem.error());
  }
  return wish;
}

}  // namespace cloister::toolstack::cpu
