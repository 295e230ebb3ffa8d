// The verbs that show: domains, the machine's EPC, the host.
#include <fmt/format.h>

#include <algorithm>

#include "toolstack/client/api.hpp"
#include "toolstack/client/client.hpp"
#include "toolstack/client/print.hpp"
#include "toolstack/client/table.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr u64 pages_per_mib = (1 << 20) / arch::page_size;

u64 number(const Json& json, const char* field) { return json.value(field, u64{0}); }
std::string digits(const Json& json, const char* field) { return std::to_string(number(json, field)); }

/// "64 MiB", or pages where they make no whole number of MiB.
std::string size_of(u64 pages) {
  return pages % pages_per_mib == 0 ? fmt::format("{} MiB", pages / pages_per_mib) : fmt::format("{} pages", pages);
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

/// A JSON value as a person reads it.
std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (!value.is_structured()) return value.dump();
  std::string text;
  for (const auto& [key, element] : value.items())
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", value.is_object() ? key + " " : "", plain(element));
  return text;
}

/// Asks, and prints the answer as JSON or as `text` makes it.
template <class Text>
int show(const Common& common, const std::string& path, Text text) {
  const auto answer = Api(common.run_folder).get(path);
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(text(*answer));
}

}  // namespace

int list(const Common& common) {
  return show(common, "/v1/domains", [](const Json& domains) {
    Table table({"NAME", ">ID", "STATE", ">VCPUS", ">MEM(MiB)", ">EPC(MiB)", ">CPU TIME(s)"});
    for (const Json& d : domains)
      table.add({d.value("name", ""), digits(d, "id"), d.value("state", ""), digits(d, "vcpus"),
                 digits(d, "memory_mib"), digits(d, "epc_mib"), fmt::format("{:.1f}", d.value("cpu_seconds", 0.0))});
    return table.text();
  });
}

int info(const Common& common, const std::string& domain, bool policy) {
  if (policy) {
    return show(common, domain_path(domain, "/policy"), [](const Json& answer) { return answer.dump(2) + "\n"; });
  }
  return show(common, domain_path(domain), [](const Json& d) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const auto& [name, value] : d.items())
      if (name != "epc") lines.emplace_back(name, plain(value));
    lines.emplace_back("epc", extents_of(d, "epc"));
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
    for (const char* field : {"keys", "launch_control", "silicon"})
      if (epc.contains(field)) lines.emplace_back(field, plain(epc[field]));
    std::string text = pairs(lines);
    Table table({">PACKAGE", ">TOTAL", ">FREE", ">GRANTED", ">WITHDRAWN", ">LARGEST FREE", "SECTIONS"});
    for (const Json& package : epc.value("packages", Json::array())) {
      std::string sections;
      for (const Json& section : package.value("sections", Json::array()))
        sections += fmt::format("{}{} on node {}", sections.empty() ? "" : ", ",
                                range_of(number(section, "base"), number(section, "pages")), number(section, "node"));
      table.add({digits(package, "package"), digits(package, "total_pages"), digits(package, "free_pages"),
                 digits(package, "granted_pages"), digits(package, "withdrawn_pages"),
                 digits(package, "largest_free_extent"), sections});
    }
    return text + "\n" + table.text();
  });
}

int sgx_list(const Common& common) {
  return show(common, "/v1/epc/domains", [](const Json& domains) {
    Table table({"NAME", ">ID", ">PAGES", ">EPC(MiB)", "EXTENTS"});
    for (const Json& d : domains)
      table.add({d.value("name", ""), digits(d, "id"), digits(d, "pages"),
                 fmt::format("{:.1f}", static_cast<double>(number(d, "pages")) / pages_per_mib),
                 extents_of(d, "extents")});
    return table.text();
  });
}

int host(const Common& common) {
  return show(common, "/v1/host", [](const Json& answer) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const auto& [name, value] : answer.items()) lines.emplace_back(name, plain(value));
    return pairs(lines);
  });
}

}  // namespace cloister::toolstack::client
