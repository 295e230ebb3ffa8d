// The verbs that show: domains, the machine's EPC, the host.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "arch/sizes.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "policy/policy.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::client {
namespace {

u64 number(const Json& json, const char* field) { return json.value(field, u64{0}); }
std::string digits(const Json& json, const char* field) { return std::to_string(number(json, field)); }

/// "64 MiB", or pages where they make no whole number of MiB.
std::string size_of(u64 pages) {
  return pages % arch::pages_per_mib == 0 ? fmt::format("{} MiB", pages / arch::pages_per_mib)
                                          : fmt::format("{} pages", pages);
}

/// A machine address range, and its size.
std::string range_of(u64 base, u64 pages) {
  return fmt::format("{:#x}-{:#x} ({})", base, base + (pages << arch::page_shift) - 1, size_of(pages));
}

std::string extents_of(const Json& domain, const char* field) {
  std::string text;
  for (const Json& extent : domain.value(field, Json::array()))
    text += fmt::format("{}package {} {}", text.empty() ? "" : ", ", number(extent, "package"),
                        range_of(number(extent, "first") << arch::page_shift, number(extent, "pages")));
  return text.empty() ? "none" : text;
}

std::string sections_of(const Json& package) {
  std::string text;
  for (const Json& section : package.value("sections", Json::array()))
    text += fmt::format("{}{} on node {}", text.empty() ? "" : ", ",
                        range_of(number(section, "base"), number(section, "pages")), number(section, "node"));
  return text;
}

/// "software, 256 MiB of EPC: why", or "none: why".
std::string sgx_of(const Json& sgx) {
  const std::string reason = sgx.value("reason", "");
  if (!sgx.value("available", false)) return "none: " + reason;
  std::string text = fmt::format("{}, {} of EPC", sgx.value("kind", ""), size_of(number(sgx, "epc_pages")));
  if (const std::string sections = sections_of(sgx); !sections.empty()) text += ", " + sections;
  return text + ": " + reason;
}

/// A JSON value as a person reads it.
std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_structured()) return json_text(value);
  if (value.empty()) return "none";
  std::string text;
  for (const auto& [key, element] : value.items())
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", value.is_object() ? key + " " : "", plain(element));
  return text;
}

/// The keys in which a domain is not as it is defined.
std::string difference_of(const Json& keys) {
  return keys.empty() ? "none" : plain(keys) + ": as defined from its next start on";
}

/// What is still to be started with the host, and what could not be.
std::string starts_of(const Json& autostart) {
  std::string text = autostart.value("going_down", false) ? "the host goes down, none is started; " : "";
  text += "to be started: " + plain(autostart.value("pending", Json::array()));
  for (const Json& one : autostart.value("failed", Json::array()))
    text += fmt::format("; {} {}: {}", one.value("name", ""),
                        one.value("retried", false) ? "could not be started yet" : "was not started",
                        one.value("reason", ""));
  return text;
}

constexpr const char* stages[] = {"raw", "host", "maximum", "default", "domain"};

/// The stage's entry of this leaf and sub-leaf; null: zeros.
const Json* cpuid_of(const Json& stage, u64 leaf, u64 subleaf) {
  const auto& list = stage.at("cpuid");
  const auto found = std::ranges::find_if(
      list, [&](const Json& c) { return number(c, "leaf") == leaf && number(c, "subleaf") == subleaf; });
  return found == list.end() ? nullptr : &*found;
}

/// The names of the features in a register: those that the processor has, with a minus if the domain has not.
std::string features_of(u64 leaf, u64 subleaf, arch::CpuidReg reg, u64 raw, u64 domain) {
  std::string text;
  const policy::Feature* last = nullptr;
  for (const policy::Feature& feature : policy::features()) {
    if (feature.leaf != leaf || feature.subleaf != subleaf || feature.reg != reg) continue;
    const bool alias = last != nullptr && last->bit == feature.bit;
    last = &feature;
    const u64 bit = u64{1} << feature.bit;
    if (alias || ((raw | domain) & bit) == 0) continue;
    text.append(text.empty() ? "" : " ").append((domain & bit) == 0 ? "-" : "").append(feature.name);
  }
  return text;
}

/// The leaves with the features that domains differ in, a line for each register that any stage has.
std::string policies_text(const Json& policies) {
  using arch::CpuidReg;
  constexpr std::pair<const char*, CpuidReg> registers[] = {
      {"eax", CpuidReg::eax}, {"ebx", CpuidReg::ebx}, {"ecx", CpuidReg::ecx}, {"edx", CpuidReg::edx}};
  constexpr u64 shown[] = {arch::leaf::version, arch::leaf::features, arch::leaf::xsave, arch::leaf::sgx};
  std::set<std::pair<u64, u64>> places;
  for (const char* stage : stages) {
    for (const Json& c : policies.at(stage).at("cpuid")) {
      if (std::ranges::count(shown, number(c, "leaf")) != 0) places.emplace(number(c, "leaf"), number(c, "subleaf"));
    }
  }
  Table table({"CPUID", ">RAW", ">HOST", ">MAXIMUM", ">DEFAULT", ">DOMAIN", "FEATURES"});
  for (const auto& [leaf, subleaf] : places) {
    for (const auto& [name, reg] : registers) {
      std::vector<u64> values;
      for (const char* stage : stages) {
        const Json* const c = cpuid_of(policies.at(stage), leaf, subleaf);
        values.push_back(c == nullptr ? 0 : number(*c, name));
      }
      if (std::ranges::all_of(values, [](u64 v) { return v == 0; })) continue;
      std::vector<std::string> cells{fmt::format("{:#x}.{} {}", leaf, subleaf, name)};
      for (const u64 value : values) cells.push_back(fmt::format("{:08x}", value));
      cells.push_back(features_of(leaf, subleaf, reg, values.front(), values.back()));
      table.add(std::move(cells));
    }
  }
  Table msrs({"MSR", ">RAW", ">HOST", ">MAXIMUM", ">DEFAULT", ">DOMAIN", "WRITABLE"});
  const Json& own = policies.at("domain").at("msrs");
  for (std::size_t i = 0; i < own.size(); ++i) {
    std::vector<std::string> cells{own[i].value("name", "")};
    for (const char* stage : stages) {
      const Json& value = policies.at(stage).at("msrs").at(i).at("value");
      cells.push_back(value.is_null() ? "#GP" : value.get<std::string>());
    }
    cells.emplace_back(own[i].value("writable", false) ? "yes" : "no");
    msrs.add(std::move(cells));
  }
  const bool provision = policies.value("sgx_provision", false);
  return table.text() + "\n" + msrs.text() + "\nsgx_provision  " + (provision ? "yes" : "no") + "\n";
}

bool lives(const Json& domain) { return number(domain, "id") != 0; }

/// When the host went down; its next start lets it go on.
bool was_saved(const Json& domain) { return !lives(domain) && domain.value("goes_on", false); }

std::string state_of(const Json& domain) { return was_saved(domain) ? "saved" : domain.value("state", ""); }

/// Asks, and prints the answer as JSON or as `text` makes it.
template <class Text>
int show(const Common& common, const std::string& path, Text text) {
  const auto answer = Api(common.run_folder).get(path);
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(text(printable_texts(*answer)));
}

}  // namespace

int list(const Common& common, bool all) {
  auto answer = Api(common.run_folder).get("/v1/domains?all=true");
  if (!answer) return report(answer.error());
  Json shown = Json::array();
  for (Json& d : *answer) {
    if (all || lives(d) || was_saved(d) || d.value("state", "") == "in-doubt") shown.push_back(std::move(d));
  }
  const auto text = [](const Json& domains) {
    Table table({"NAME", ">ID", "STATE", ">VCPUS", ">MEM(MiB)", ">EPC(MiB)", ">CPU TIME(s)"});
    std::string failed;
    for (const Json& d : domains) {
      table.add({d.value("name", ""), lives(d) ? digits(d, "id") : "-", state_of(d), digits(d, "vcpus"),
                 digits(d, "memory_mib"), digits(d, "epc_mib"),
                 lives(d) ? fmt::format("{:.1f}", d.value("cpu_seconds", 0.0)) : "-"});
      if (const std::string why = d.value("failed", ""); !why.empty())
        failed += fmt::format("\n{} {}: {}\n", d.value("name", ""),
                              d.value("retried", false) ? "could not be started with the host yet, and is tried again"
                                                        : "was not started with the host",
                              why);
      if (const Json move = d.value("migration", Json::object()); d.value("state", "") == "in-doubt")
        failed += fmt::format("\n{0} may run elsewhere by now: cloister migrate --resolve {0} {1}\n",
                              d.value("name", ""), printable(move.value("to", "")));
      if (was_saved(d))
        failed += fmt::format("\n{0} was saved when the host went down: cloister start {0} lets it go on\n",
                              d.value("name", ""));
    }
    return table.text() + failed;
  };
  return common.json ? print_json(shown) : print(text(printable_texts(shown)));
}

namespace {

using Lines = std::vector<std::pair<std::string, std::string>>;

/// What each of them has done.
void add_devices(const Json& devices, Lines& lines) {
  constexpr double ms = 1e3;
  for (const Json& disk : devices.value("disks", Json::array())) {
    const u64 all = number(disk, "reads") + number(disk, "writes") + number(disk, "flushes") + number(disk, "clears");
    lines.emplace_back(
        "disk " + disk.value("vdev", ""),
        fmt::format("{} reads ({} bytes), {} writes ({} bytes), {} flushes, {} clears, {} errors; mean "
                    "{:.3f} ms",
                    number(disk, "reads"), number(disk, "read_bytes"), number(disk, "writes"),
                    number(disk, "written_bytes"), number(disk, "flushes"), number(disk, "clears"),
                    number(disk, "errors"), all == 0 ? 0 : disk.value("seconds", 0.0) * ms / static_cast<double>(all)));
  }
  unsigned place = 0;
  for (const Json& one : devices.value("interfaces", Json::array()))
    lines.emplace_back(
        fmt::format("vif {}", place++),
        fmt::format("received {} frames ({} bytes), {} dropped; sent {} ({} bytes), {} dropped",
                    number(one, "received_frames"), number(one, "received_bytes"), number(one, "received_drops"),
                    number(one, "sent_frames"), number(one, "sent_bytes"), number(one, "sent_drops")));
  if (const Json vsock = devices.value("vsock", Json()); vsock.is_object())
    lines.emplace_back("connections",
                       fmt::format("{} open, {} made, {} refused; received {} bytes, sent {}", number(vsock, "open"),
                                   number(vsock, "connections"), number(vsock, "refused"),
                                   number(vsock, "received_bytes"), number(vsock, "sent_bytes")));
}

}  // namespace

int info(const Common& common, const std::string& domain, bool policy) {
  if (policy) {
    return show(common, domain_path(domain, "/policy"), policies_text);
  }
  return show(common, domain_path(domain), [](const Json& d) {
    constexpr std::string_view of_a_life[] = {"id",           "overhead_mib", "pid",     "started",  "cpu_seconds",
                                              "instructions", "restarts",     "console", "placement"};
    Lines lines;
    for (const auto& [name, value] : d.items()) {
      if (name == "epc" || name == "devices" || (!lives(d) && std::ranges::count(of_a_life, name) != 0)) continue;
      lines.emplace_back(name, name == "differs" ? difference_of(value) : name == "state" ? state_of(d) : plain(value));
    }
    add_devices(d.value("devices", Json::object()), lines);
    if (lives(d)) lines.emplace_back("epc", extents_of(d, "epc"));
    return pairs(lines);
  });
}

int dmesg(const Common& common, const std::string& domain) {
  const auto text = Api(common.run_folder).get_text(domain_path(domain, "/console"));
  if (!text) return report(text.error());
  return common.json ? print_json(Json{{"console", *text}}) : print(*text);
}

int sgx_info(const Common& common) {
  return show(common, "/v1/epc", [](const Json& epc) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const char* field : {"total_pages", "free_pages", "granted_pages", "withdrawn_pages"})
      lines.emplace_back(field, digits(epc, field));
    for (const char* field : {"keys", "launch_control", "silicon", "overcommit", "migration"})
      if (epc.contains(field)) lines.emplace_back(field, plain(epc[field]));
    std::string text = pairs(lines);
    Table table({">PACKAGE", ">TOTAL", ">FREE", ">GRANTED", ">WITHDRAWN", ">LARGEST FREE", "SECTIONS"});
    for (const Json& package : epc.value("packages", Json::array())) {
      table.add({digits(package, "package"), digits(package, "total_pages"), digits(package, "free_pages"),
                 digits(package, "granted_pages"), digits(package, "withdrawn_pages"),
                 digits(package, "largest_free_extent"), sections_of(package)});
    }
    return text + "\n" + table.text();
  });
}

int sgx_list(const Common& common) {
  return show(common, "/v1/epc/domains", [](const Json& domains) {
    Table table({"NAME", ">ID", ">PAGES", ">EPC(MiB)", "EXTENTS"});
    for (const Json& d : domains)
      table.add({d.value("name", ""), digits(d, "id"), digits(d, "pages"),
                 fmt::format("{:.1f}", static_cast<double>(number(d, "pages")) / arch::pages_per_mib),
                 extents_of(d, "extents")});
    return table.text();
  });
}

int host(const Common& common, bool key) {
  if (key) {
    const auto answer = Api(common.run_folder).get("/v1/host");
    if (!answer) return report(answer.error());
    const std::string text = answer->value("machine_key", "");
    return common.json ? print_json(Json{{"machine_key", text}}) : print(text + "\n");
  }
  return show(common, "/v1/host", [](const Json& answer) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const auto& [name, value] : answer.items())
      lines.emplace_back(name, name.ends_with("sgx") ? sgx_of(value)
                               : name == "autostart" ? starts_of(value)
                                                     : plain(value));
    return pairs(lines);
  });
}

}  // namespace cloister::toolstack::client
