// `cloister cpu check`: a table of what a policy asks for, each with what the host has of it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/hosts/hosts.hpp"
#include "policy/flags.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::cpu {

namespace {

using nlohmann::ordered_json;
using policy::Check;
using policy::CheckedFlag;
using policy::Known;

std::string names(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ", ")); }

std::string consequence(const CheckedFlag& row) {
  std::string text = row.consequence;
  if (!row.takes_along.empty()) {
    text += fmt::format("{}Without it, {} {} nothing.", text.empty() ? "" : " ", names(row.takes_along),
                        row.takes_along.size() == 1 ? "means" : "mean");
  }
  return text;
}

std::string flag_cell(const CheckedFlag& row) {
  if (row.implied) return row.name + " (implied)";
  return row.asked == row.name ? row.name : fmt::format("{} ({})", row.asked, row.name);
}

std::size_t count(const Check& check, Known known) {
  std::size_t n = 0;
  for (const auto* const rows : {&check.flags, &check.rest}) {
    for (const CheckedFlag& row : *rows) n += row.here == known;
  }
  return n;
}

ordered_json row_json(const CheckedFlag& row) {
  return {{"name", row.name},
          {"asked", row.asked},
          {"place", row.place},
          {"here", name_of(row.here)},
          {"implied", row.implied},
          {"why", row.why},
          {"consequence", row.consequence},
          {"takes_along", row.takes_along}};
}

}  // namespace

std::string_view name_of(Known known) {
  switch (known) {
    case Known::no: return "no";
    case Known::yes: return "yes";
    case Known::unknown: break;
  }
  return "unknown";
}

std::string check_text(const policy::HostView& host, const Check& check, const policy::SgxReport& report) {
  Table table({"FLAG", "WHERE", "HERE", "WHAT A GUEST LOSES"});
  for (const auto* const rows : {&check.flags, &check.rest}) {
    for (const CheckedFlag& row : *rows) {
      const std::string here(name_of(row.here));
      table.add(
          {printable(flag_cell(row)), row.place, row.why.empty() ? here : here + ": " + row.why, consequence(row)});
    }
  }
  const std::size_t all = check.flags.size() + check.rest.size();
  const std::size_t lacks = count(check, Known::no), unknown = count(check, Known::unknown);
  std::string text = table.text() + "\n" + printable(host.name);
  if (lacks == 0 && unknown == 0) {
    text += all == 1 ? " has it.\n" : fmt::format(" has all {}.\n", all);
  } else {
    text += fmt::format(" lacks {} of {}", lacks, all);
    text += unknown == 0 ? ".\n" : fmt::format(", and does not tell of {}.\n", unknown);
  }
  const auto lacks_sgx = [](const CheckedFlag& row) { return row.here != Known::yes && row.name.starts_with("sgx"); };
  if (std::ranges::none_of(check.flags, lacks_sgx)) return text;
  for (const policy::Finding& finding : report.findings) {
    text += fmt::format("{}: {}{}{}\n", finding.rule, finding.message, finding.mend.empty() ? "" : ". ", finding.mend);
  }
  return text;
}

ordered_json check_json(const policy::HostView& host, const Check& check, const policy::SgxReport& report) {
  ordered_json json{{"host", {{"name", host.name}, {"source", host.source}}}, {"all", name_of(check.all)}};
  json["flags"] = json["rest"] = json["findings"] = ordered_json::array();
  for (const CheckedFlag& row : check.flags) json["flags"].push_back(row_json(row));
  for (const CheckedFlag& row : check.rest) json["rest"].push_back(row_json(row));
  for (const policy::Finding& finding : report.findings) {
    json["findings"].push_back({{"rule", finding.rule}, {"message", finding.message}, {"mend", finding.mend}});
  }
  return json;
}

int check(const std::string& host_path, const std::string& policy_text, bool json, const std::string& libvirt,
          const vmx::Backend& silicon) {
  const auto refuse = [](const std::string& error) {
    spdlog::error("{}", error);
    return exit_status::bad_configuration;
  };
  const auto at_hand = map_at_hand(libvirt);
  if (!at_hand) return refuse(at_hand.error());
  const policy::CpuMap& map = at_hand->map;
  const auto asked = load_policy(policy_text, map, silicon);
  if (!asked) return refuse(asked.error());
  if (!asked->note.empty()) spdlog::warn("{}", asked->note);
  const auto host = load_host(host_path);
  if (!host) return refuse(host.error());
  const auto checked = policy::check(*host, asked->wish, map);
  if (!checked) {
    constexpr std::size_t most = 16;
    std::size_t told = 0;
    for (const policy::UnknownName& unknown : checked.error()) {
      if (told++ == most) {
        refuse(fmt::format("cloister: {} more names are unknown", checked.error().size() - most));
        break;
      }
      const auto where = asked->where.find(unknown.name);
      refuse((where == asked->where.end() ? "cloister" : where->second) + ": " +
             printable(policy::message_of(unknown)));
    }
    return exit_status::bad_configuration;
  }
  const policy::SgxReport report = policy::sgx_report(*host);
  const bool printed =
      print(json ? json_text(check_json(*host, *checked, report), 2) + "\n" : check_text(*host, *checked, report));
  if (!printed) return status::failed;
  switch (checked->all) {
    case Known::yes: return status::good;
    case Known::no: return status::failed;
    case Known::unknown: break;
  }
  return status::unknown;
}

}  // namespace cloister::toolstack::cpu
