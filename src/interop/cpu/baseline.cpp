// `cloister cpu baseline`: the policy first, then what it costs and why, then who can move where.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "interop/cpu/baseline_hosts.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/hosts/hosts.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::cpu {

namespace {

using policy::Baseline;
using policy::Known;
using policy::LaunchInCommon;

std::string join(const std::vector<std::string>& words, const char* between = ", ") {
  return fmt::format("{}", fmt::join(words, between));
}

/// The first few of a list that may be long, and of words that may be.
std::string some(const std::vector<std::string>& words, const char* between = ", ") {
  constexpr std::size_t most = 8, widest = 160;
  std::size_t kept = 0, width = 0;
  for (; kept < words.size() && kept < most; ++kept) {
    width += words[kept].size() + 2;
    if (kept > 0 && width > widest) break;
  }
  if (kept + 1 == words.size() && width <= widest) ++kept;
  if (kept == words.size()) return join(words, between);
  const auto end = words.begin() + static_cast<std::ptrdiff_t>(kept);
  return fmt::format("{} and {} more", fmt::join(words.begin(), end, between), words.size() - kept);
}

std::string mib(u64 bytes) { return fmt::format("{} MiB", bytes >> 20); }

std::string state_text(const policy::HostSummary& host) {
  switch (host.state) {
    case policy::SgxState::absent: return "no";
    case policy::SgxState::switched_off: return "switched off";
    case policy::SgxState::offered: return host.obstacle.empty() ? "yes" : "not usable";
    case policy::SgxState::unknown: break;
  }
  return host.obstacle.empty() ? "unknown" : "not usable";
}

std::string hosts_table(const Baseline& baseline) {
  Table table({"HOST", "SGX", "LAUNCH CONTROL", "EPC", "CPU"});
  const std::vector<std::string> names = short_names(baseline);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const policy::HostSummary& host = baseline.hosts[i];
    const bool sgx = host.state == policy::SgxState::offered;
    table.add({names[i], state_text(host), sgx ? std::string(policy::name_of(host.launch)) : "",
               sgx ? epc_text(host.epc) : "", host.cpu ? host.cpu->model : "unknown"});
  }
  return table.text();
}

std::string size_text(u8 log2) { return log2 == 0 ? "unknown" : fmt::format("2^{} bytes", log2); }

/// `all`: each host in a line of its own.
std::string sgx_text(const Baseline& baseline, const policy::CpuMap& map, bool all) {
  const policy::SgxPolicy& sgx = baseline.sgx;
  if (sgx.flags.empty()) {
    std::vector<std::string> reasons;
    for (const std::string& reason : baseline.no_sgx) reasons.push_back(printable(reason));
    return "SGX on all hosts: none; " + (all ? join(reasons, "\n    ") : some(reasons, "; ")) + "\n";
  }
  std::string epc = baseline.epc_bytes ? mib(*baseline.epc_bytes) + " at most" : "size not known of all hosts";
  epc += baseline.epc_property ? fmt::format(", property {}", *baseline.epc_property)
                               : ", properties differ or are not known";
  std::vector<std::pair<std::string, std::string>> lines{
      {"flags", join(sgx.flags, ",")},
      {"XFRM", sgx.xfrm == 0 ? "not known of all hosts"
                             : fmt::format("{:#x} ({})", sgx.xfrm, join(policy::names_of_xfrm(sgx.xfrm)))},
      {"enclaves", fmt::format("32-bit: {}; 64-bit: {}", size_text(sgx.log2_size_32), size_text(sgx.log2_size_64))},
      {"launch key", launch_text(sgx.launch)},
      {"EPC", epc}};
  if (const auto unsaid = unsaid_flags(sgx, map); !unsaid.empty()) {
    lines.emplace_back("not in map", join(unsaid) + ": this libvirt has no word for them");
  }
  return "SGX on all hosts\n" + pairs(lines);
}

std::string cpu_text(const Baseline& baseline) {
  if (!baseline.cpu) return "CPU on all hosts: none; " + printable(baseline.no_cpu) + "\n";
  std::string text = "CPU on all hosts\n";
  if (baseline.cpu->model.empty()) {
    text += join(baseline.cpu->required, ",") + "\n";
  } else {
    text += cpu_element(*baseline.cpu);
  }
  if (!baseline.immovable.empty()) {
    text += fmt::format("All hosts have {}, which no guest that moves may have.\n", join(baseline.immovable));
  }
  return text;
}

std::string who(const std::vector<std::string>& names, const std::vector<std::size_t>& hosts) {
  std::vector<std::string> these;
  for (const std::size_t i : hosts) these.push_back(names[i]);
  return some(these);
}

/// The same, a host a line: for pools of any size.
std::string costs_by_lines(const Baseline& baseline) {
  std::string text = "What it costs\n";
  for (const policy::Cost& cost : baseline.costs) {
    if (!cost.sgx && cost.unknown.size() == baseline.hosts.size()) continue;
    text += fmt::format("{} ({})\n", cost.flag, cost.place);
    for (const std::size_t host : cost.without)
      text += fmt::format("    not on {}\n", printable(baseline.hosts[host].name));
    for (const std::size_t host : cost.unknown)
      text += fmt::format("    not told by {}\n", printable(baseline.hosts[host].name));
  }
  return text;
}

std::string costs_text(const Baseline& baseline) {
  Table table({"WHAT", "WHERE", "HOSTS WITHOUT", "HOSTS THAT DO NOT TELL"});
  const std::vector<std::string> names = short_names(baseline);
  std::vector<std::string> untold;
  bool any = false;
  for (const policy::Cost& cost : baseline.costs) {
    // What nobody tells of costs nothing that anybody knows of.
    if (!cost.sgx && cost.unknown.size() == baseline.hosts.size()) {
      untold.push_back(cost.flag);
      continue;
    }
    any = true;
    table.add({cost.flag, cost.place, who(names, cost.without), who(names, cost.unknown)});
  }
  std::string text = any ? "What it costs\n" + table.text() : "It costs no host a flag.\n";
  if (!untold.empty()) text += fmt::format("No host tells of {}: not granted.\n", some(untold));
  return text;
}

/// `table`: also each move in a table, which is as wide as there are hosts.
std::string moves_text(const Baseline& baseline, bool table) {
  if (baseline.hosts.size() < 2) return {};
  std::vector<std::string> titles{"FROM \\ TO"};
  const std::vector<std::string> names = short_names(baseline);
  titles.insert(titles.end(), names.begin(), names.end());
  Table matrix(titles);
  std::string reasons;
  auto migration = baseline.migrations.begin();
  for (std::size_t from = 0; from < baseline.hosts.size(); ++from) {
    std::vector<std::string> row{names[from]};
    for (std::size_t to = 0; to < baseline.hosts.size(); ++to) {
      row.emplace_back(from == to ? "-" : name_of(migration->safe));
      if (from == to) continue;
      if (migration->safe != Known::yes) {
        reasons += fmt::format("{} -> {}: ", names[from], names[to]);
        if (!migration->lost.empty()) reasons += "loses " + some(migration->lost);
        if (!migration->unknown.empty()) {
          reasons += fmt::format("{}not known: {}", migration->lost.empty() ? "" : "; ", some(migration->unknown));
        }
        reasons += "\n";
      }
      ++migration;
    }
    matrix.add(std::move(row));
  }
  return "Moves of a guest with all that a host offers\n" + (table ? matrix.text() : "") + reasons +
         "A guest with what all hosts have moves in every direction. Its enclaves do not: their keys are a\n"
         "processor's own and their pages are lost, so that they start anew, and what they sealed stays behind.\n";
}

// ------------------------------------------------------------------------------------------------ large pools

constexpr std::size_t most_in_full = 6;

/// Flags that the same hosts lack are one row.
std::string costs_in_short(const Baseline& baseline) {
  struct Row {
    std::vector<std::size_t> without, unknown;
    std::vector<std::string> flags;
  };
  std::vector<Row> rows;
  for (const policy::Cost& cost : baseline.costs) {
    if (cost.without.empty() && cost.unknown.size() == baseline.hosts.size()) continue;
    const auto same = [&](const Row& row) { return row.without == cost.without && row.unknown == cost.unknown; };
    auto row = std::ranges::find_if(rows, same);
    if (row == rows.end()) row = rows.insert(rows.end(), Row{cost.without, cost.unknown, {}});
    row->flags.push_back(cost.flag);
  }
  if (rows.empty()) return "It costs no host a flag.\n";
  const std::vector<std::string> short_of_all = short_names(baseline);
  const auto names_of = [&](const std::vector<std::size_t>& hosts) {
    std::vector<std::string> names;
    for (const std::size_t host : hosts) names.push_back(short_of_all[host]);
    return names;
  };
  std::string text = "What it costs\n";
  for (const Row& row : rows) {
    text += some(row.flags) + "\n";
    if (!row.without.empty()) text += "    not on " + some(names_of(row.without)) + "\n";
    if (!row.unknown.empty()) text += "    not told by " + some(names_of(row.unknown)) + "\n";
  }
  return text;
}

std::string moves_in_short(const Baseline& baseline) {
  std::size_t safe = 0;
  for (const policy::Migration& move : baseline.migrations) safe += move.safe == Known::yes;
  return fmt::format(
      "Of {} moves between hosts that differ, {} are safe for a guest with all that the first one offers. A guest with "
      "what all\nhosts have moves in every direction.\n",
      baseline.migrations.size(), safe);
}

}  // namespace

std::string launch_text(const LaunchInCommon& launch) {
  switch (launch.hash) {
    case LaunchInCommon::Hash::any: return "each domain its own, and guests may write it";
    case LaunchInCommon::Hash::one:
      return launch.value == arch::msr::intel_lepubkeyhash ? "Intel's, and no other" : "the hosts' own, and no other";
    case LaunchInCommon::Hash::none: return "none in common: firmware locked different ones";
    case LaunchInCommon::Hash::unknown: break;
  }
  return "not known: not every host's MSRs were read";
}

std::string cpu_element(const policy::NamedCpu& named) {
  pugi::xml_document document;
  pugi::xml_node cpu = document.append_child("cpu");
  cpu.append_attribute("mode") = "custom";
  cpu.append_attribute("match") = "exact";
  pugi::xml_node model = cpu.append_child("model");
  model.append_attribute("fallback") = "forbid";
  model.text() = named.model.c_str();
  if (!named.vendor.empty()) cpu.append_child("vendor").text() = named.vendor.c_str();
  const auto add = [&](const std::vector<std::string>& names, const char* policy) {
    for (const std::string& name : names) {
      pugi::xml_node feature = cpu.append_child("feature");
      feature.append_attribute("policy") = policy;
      feature.append_attribute("name") = name.c_str();
    }
  };
  add(named.required, "require");
  add(named.disabled, "disable");
  std::ostringstream text;
  document.print(text, "  ", pugi::format_indent | pugi::format_attribute_single_quote | pugi::format_no_declaration);
  // As libvirt prints it.
  std::string as_libvirt = text.str();
  for (std::size_t at = 0; (at = as_libvirt.find(" />\n", at)) != std::string::npos;) as_libvirt.erase(at, 1);
  return as_libvirt;
}

std::vector<std::string> unsaid_flags(const policy::SgxPolicy& sgx, const policy::CpuMap& map) {
  std::vector<std::string> unsaid;
  for (const std::string& flag : sgx.flags) {
    const auto same = [&](const policy::MapFeature& mapped) {
      const policy::Feature* const feature = feature_of(mapped);
      return feature != nullptr && feature->name == flag;
    };
    if (std::ranges::none_of(map.features, same)) unsaid.push_back(flag);
  }
  return unsaid;
}

std::string baseline_text(const Baseline& whole, const policy::CpuMap& map, bool all) {
  const bool many = whole.hosts.size() > most_in_full, large = many && !all;
  const Baseline baseline = large ? of_groups(whole) : whole;
  std::string text;
  if (large)
    text = fmt::format("{} hosts, of which {} differ in what a guest can have; --all shows each.\n", whole.hosts.size(),
                       baseline.hosts.size());
  const bool matrix = baseline.hosts.size() <= most_in_full;
  for (const std::string& part : {hosts_table(baseline), sgx_text(baseline, map, all), cpu_text(baseline),
                                  large  ? costs_in_short(baseline)
                                  : many ? costs_by_lines(baseline)
                                         : costs_text(baseline),
                                  matrix || all ? moves_text(baseline, matrix) : moves_in_short(baseline)}) {
    if (!part.empty()) text += (text.empty() ? "" : "\n") + part;
  }
  return text;
}

int baseline(const std::vector<std::string>& paths, bool json, bool all, const std::string& libvirt) {
  std::vector<policy::HostView> hosts;
  for (const std::string& path : paths) {
    auto host = load_host(path);
    if (!host) {
      spdlog::error("{}", host.error());
      return exit_status::bad_configuration;
    }
    hosts.push_back(std::move(*host));
  }
  const auto at_hand = map_at_hand(libvirt);
  if (!at_hand) {
    spdlog::error("{}", at_hand.error());
    return exit_status::bad_configuration;
  }
  const policy::CpuMap& map = at_hand->map;
  const Baseline found = policy::baseline(hosts, map);
  std::string text = json ? json_text(baseline_json(found, map), 2) + "\n" : baseline_text(found, map, all);
  if (!json && !at_hand->note.empty()) text += fmt::format("No CPU model: {}\n", at_hand->note);
  if (!print(text)) return status::failed;
  if (!found.sgx.flags.empty()) return status::good;
  // Nobody is known to be without it.
  const bool may_be = std::ranges::all_of(found.hosts, [](const policy::HostSummary& host) {
    return host.obstacle.empty() &&
           (host.state == policy::SgxState::offered || host.state == policy::SgxState::unknown);
  });
  return may_be ? status::unknown : status::failed;
}

}  // namespace cloister::toolstack::cpu
