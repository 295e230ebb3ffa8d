// Frames are machine frame numbers, 4 KiB each.
#include "toolstack/daemon/views.hpp"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "silicon/diagnostics.hpp"

namespace cloister::toolstack {

namespace {

using hypervisor::EpcExtent;
using nlohmann::json;
namespace diagnostics = silicon::diagnostics;

const char* text_of(hypervisor::KeySharing keys) {
  return keys == hypervisor::KeySharing::shared ? "shared" : "separate";
}

json extents_of(const Grants& grants) {
  json list = json::array();
  for (const auto& grant : grants) {
    for (const EpcExtent& extent : grant.extents)
      list.push_back({{"first", extent.first.value}, {"pages", extent.pages}, {"package", grant.package}});
  }
  return list;
}

json counts(const hypervisor::EpcCount& count) {
  return {{"total_pages", count.total},
          {"free_pages", count.free},
          {"granted_pages", count.granted},
          {"withdrawn_pages", count.withdrawn}};
}

const char* name_of(arch::PageType type) {
  switch (type) {
    case arch::PageType::secs: return "SECS";
    case arch::PageType::tcs: return "TCS";
    case arch::PageType::reg: return "REG";
    case arch::PageType::va: return "VA";
    case arch::PageType::trim: return "TRIM";
    case arch::PageType::ss_first: return "SS_FIRST";
    case arch::PageType::ss_rest: return "SS_REST";
  }
  return "unknown";
}

/// Pages by type, of those of a domain's pages that lie in [from, from + pages) of its EPC.
json types_of(const std::vector<diagnostics::Page>& valid, u64 from, u64 pages) {
  std::array<u64, diagnostics::page_types> count{};
  u64 sum = 0;
  const auto first = std::ranges::lower_bound(valid, from, {}, &diagnostics::Page::index);
  for (auto page = first; page != valid.end() && page->index < from + pages; ++page, ++sum)
    ++count[static_cast<std::size_t>(page->type)];
  json types{{"free", pages - sum}};
  for (std::size_t i = 0; i < count.size(); ++i) {
    if (count[i] != 0) types[name_of(static_cast<arch::PageType>(i))] = count[i];
  }
  return types;
}

std::vector<diagnostics::Page> valid_pages(const DomainInfo& domain) {
  if (domain.memory == nullptr) return {};
  const auto observer = diagnostics::Observer::open(domain.memory->epcm_descriptor());
  return observer ? observer->valid_pages() : std::vector<diagnostics::Page>();
}

}  // namespace

json view(const DomainInfo& domain) {
  json view{{"id", domain.id},
            {"name", domain.name},
            {"state", domain.state},
            {"vcpus", domain.vcpus},
            {"memory_mib", domain.memory_mib},
            {"epc_mib", domain.epc_mib},
            {"pid", domain.pid},
            {"started", domain.started},
            {"cpu_seconds", domain.cpu_seconds},
            {"instructions", domain.instructions},
            {"restarts", domain.restarts},
            {"console", domain.console},
            {"placement", domain.placement},
            {"epc", extents_of(domain.grants)}};
  if (!domain.warnings.empty()) view["warnings"] = domain.warnings;
  return view;
}

json view(const ApiError& error) {
  json inner{{"message", error.message}};
  if (!error.file.empty()) {
    inner["file"] = error.file;
    inner["line"] = error.line;
    inner["column"] = error.column;
  }
  return {{"error", std::move(inner)}};
}

json view_epc(const MachineDescription& machine, const MachineEpcInfo& epc) {
  json packages = json::array();
  for (const PackageEpc& package : epc.packages) {
    json one = counts(package.count);
    one["package"] = package.package;
    one["largest_free_extent"] = package.largest_free_extent;
    one["sections"] = json::array();
    for (const EpcSectionDescription& section : package.sections)
      one["sections"].push_back(
          {{"base", section.base}, {"pages", section.bytes / arch::page_size}, {"node", section.node}});
    packages.push_back(std::move(one));
  }
  json withdrawn = json::array();
  for (const EpcExtent& extent : epc.withdrawn) {
    for (u64 i = 0; i < extent.pages; ++i) withdrawn.push_back(extent.first.value + i);
  }
  json view = counts(epc.count);
  view["keys"] = text_of(machine.keys);
  view["launch_control"] = name_of(machine.launch_control);
  view["packages"] = std::move(packages);
  view["withdrawn"] = std::move(withdrawn);
  return view;
}

json view_epc_by_domain(const std::vector<DomainInfo>& domains) {
  json list = json::array();
  for (const DomainInfo& domain : domains) {
    if (domain.grants.empty()) continue;
    list.push_back({{"id", domain.id},
                    {"name", domain.name},
                    {"pages", pages_of(domain.grants)},
                    {"extents", extents_of(domain.grants)}});
  }
  return list;
}

json view_epc_map(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains) {
  struct Run {
    u64 first, pages;
    json owner, types;
  };
  std::vector<Run> held;
  for (const DomainInfo& domain : domains) {
    const auto valid = valid_pages(domain);
    u64 at = 0;  // in the domain's EPC
    for (const EpcExtent& extent : sections_of(domain.grants)) {
      held.push_back({extent.first.value, extent.pages, domain.id, types_of(valid, at, extent.pages)});
      at += extent.pages;
    }
  }
  for (const EpcExtent& extent : epc.withdrawn)
    held.push_back({extent.first.value, extent.pages, "withdrawn", json::object()});
  std::ranges::sort(held, {}, &Run::first);

  json packages = json::array();
  for (const PackageEpc& package : epc.packages) {
    json runs = json::array();
    const auto add = [&](u64 first, u64 end, const json& owner, const json& types) {
      if (first < end) runs.push_back({{"first", first}, {"pages", end - first}, {"owner", owner}, {"types", types}});
    };
    for (const EpcSectionDescription& section : package.sections) {
      u64 at = section.base / arch::page_size;
      const u64 end = at + section.bytes / arch::page_size;
      for (const Run& run : held) {
        if (run.first < at || run.first >= end) continue;
        add(at, run.first, nullptr, json::object());
        at = std::min(end, run.first + run.pages);
        add(run.first, at, run.owner, run.types);
      }
      add(at, end, nullptr, json::object());
    }
    packages.push_back({{"package", package.package}, {"runs", std::move(runs)}});
  }
  return {{"packages", std::move(packages)}};
}

json view_host(const MachineDescription& machine) {
  utsname system{};
  ::uname(&system);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  u64 pages = 0;
  for (const PackageDescription& package : machine.packages) {
    for (const EpcSectionDescription& section : package.epc) pages += section.bytes / arch::page_size;
  }
  return {{"version", CLOISTER_VERSION},
          {"kernel", system.release},
          {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory_mib", (u64{memory.totalram} * memory.mem_unit) >> 20},
          {"machine", machine.origin},
          {"silicon", machine.silicon.empty() ? "default" : machine.silicon},
          {"sgx",
           {{"available", pages != 0},
            {"kind", "software"},
            {"reason", pages == 0 ? "no EPC: " + machine.sgx_off : "enclaves run on Cloister's software processor"},
            {"epc_pages", pages}}},
          {"packages", machine.packages.size()},
          {"keys", text_of(machine.keys)},
          {"launch_control", name_of(machine.launch_control)}};
}

}  // namespace cloister::toolstack
