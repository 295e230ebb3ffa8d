#include "interop/cpu/baseline_hosts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

namespace {

/// Folders that all have in common, with the last '/'.
std::size_t common_folders(const std::vector<std::string>& paths) {
  std::string_view common = paths.front();
  for (const std::string& path : paths) {
    const auto* const end = std::ranges::mismatch(common, std::string_view(path)).in1;
    common = common.substr(0, static_cast<std::size_t>(end - common.begin()));
  }
  return common.rfind('/') + 1;  // npos + 1: none
}

/// What a host is, but for its name; and of which flags it is the reason that others go without.
std::string likeness(const policy::Baseline& baseline, std::size_t host) {
  const policy::HostSummary& summary = baseline.hosts[host];
  std::string text = fmt::format("{} {} {} {}", static_cast<int>(summary.state), static_cast<int>(summary.launch),
                                 epc_text(summary.epc), summary.cpu ? summary.cpu->model : "");
  text += summary.obstacle;
  for (const policy::Cost& cost : baseline.costs) {
    const auto in = [&](const std::vector<std::size_t>& hosts) {
      return std::ranges::find(hosts, host) != hosts.end();
    };
    text += in(cost.without) ? '-' : in(cost.unknown) ? '?' : '+';
  }
  return text;
}

}  // namespace

std::vector<std::string> short_names(const policy::Baseline& baseline) {
  std::vector<std::string> names, whole;
  for (const policy::HostSummary& host : baseline.hosts) {
    whole.push_back(printable(host.name));
    std::string name = whole.back().substr(whole.back().rfind('/') + 1);
    if (std::ranges::find(names, name) != names.end()) name.clear();
    names.push_back(std::move(name));
  }
  if (std::ranges::find(names, "") == names.end()) return names;
  const std::size_t common = common_folders(whole);
  for (std::string& name : whole) name.erase(0, common);
  return whole;
}

std::string epc_text(const std::optional<std::vector<policy::EpcSectionView>>& epc) {
  if (!epc) return "unknown";
  if (epc->empty()) return "none";
  std::vector<std::string> sections;
  // A column is for a person; as many are more than any machine has.
  constexpr std::size_t most = 8;
  for (const policy::EpcSectionView& section : *epc) {
    if (sections.size() == most) {
      sections.push_back(fmt::format("{} more", epc->size() - most));
      break;
    }
    const std::string property = section.property == 0 ? "" : fmt::format(" (property {})", section.property);
    sections.push_back((section.bytes == 0 ? "size unknown" : fmt::format("{} MiB", section.bytes >> 20)) + property);
  }
  return fmt::format("{}", fmt::join(sections, " + "));
}

policy::Baseline of_groups(const policy::Baseline& whole) {
  std::map<std::string, std::size_t> groups;
  std::vector<std::size_t> group_of, sizes;
  policy::Baseline result = whole;
  result.hosts.clear();
  const std::vector<std::string> names = short_names(whole);
  for (std::size_t i = 0; i < whole.hosts.size(); ++i) {
    const auto [group, is_new] = groups.try_emplace(likeness(whole, i), sizes.size());
    group_of.push_back(group->second);
    if (is_new) {
      sizes.push_back(0);
      result.hosts.push_back(whole.hosts[i]);
      result.hosts.back().name = names[i];
    }
    ++sizes[group->second];
  }
  for (std::size_t g = 0; g < sizes.size(); ++g)
    if (sizes[g] > 1) result.hosts[g].name += fmt::format(" and {} alike", sizes[g] - 1);
  for (policy::Cost& cost : result.costs) {
    for (std::vector<std::size_t>* hosts : {&cost.without, &cost.unknown}) {
      for (std::size_t& host : *hosts) host = group_of[host];
      std::ranges::sort(*hosts);
      hosts->erase(std::unique(hosts->begin(), hosts->end()), hosts->end());
    }
  }
  std::map<std::pair<std::size_t, std::size_t>, policy::Migration> moves;
  for (const policy::Migration& move : whole.migrations) {
    const std::size_t from = group_of[move.from], to = group_of[move.to];
    policy::Migration between = move;
    between.from = from;
    between.to = to;
    if (from != to) moves.try_emplace({from, to}, std::move(between));
  }
  result.migrations.clear();
  for (auto& [where, move] : moves) result.migrations.push_back(std::move(move));
  return result;
}

}  // namespace cloister::toolstack::cpu
