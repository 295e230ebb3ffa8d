// Frames are machine frame numbers, 4 KiB each.
#include "daemon/views.hpp"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

namespace cloister::toolstack {

namespace {

using nlohmann::json;

const char* text_of(KeySharing keys) { return keys == KeySharing::shared ? "shared" : "separate"; }

json extents_of(const Grants& grants) {
  json list = json::array();
  for (const auto& grant : grants) {
    for (const EpcExtent& extent : grant.extents)
      list.push_back({{"first", extent.first.value}, {"pages", extent.pages}, {"package", grant.package}});
  }
  return list;
}

json counts(const EpcCount& count) {
  return {{"total_pages", count.total},
          {"free_pages", count.free},
          {"granted_pages", count.granted},
          {"withdrawn_pages", count.withdrawn}};
}

json sections_view(const std::vector<EpcSectionDescription>& sections) {
  json list = json::array();
  for (const EpcSectionDescription& section : sections)
    list.push_back({{"base", section.base}, {"pages", section.bytes / arch::page_size}, {"node", section.node}});
  return list;
}

}  // namespace

json view(const DomainInfo& domain) {
  json view{{"id", domain.id},
            {"uuid", domain.uuid},
            {"name", domain.name},
            {"persistent", domain.terms.has_value()},
            {"state", domain.state},
            {"vcpus", domain.vcpus},
            {"memory_mib", domain.memory_mib},
            {"epc_mib", domain.epc_mib},
            {"overhead_mib", domain.overhead_mib},
            {"silicon", domain.silicon},
            {"engine", name_of(domain.engine)},
            {"owner", to_json(domain.owner)},
            {"pid", domain.pid},
            {"started", domain.started},
            {"cpu_seconds", domain.cpu_seconds},
            {"instructions", domain.instructions},
            {"restarts", domain.restarts},
            {"console", domain.console},
            {"placement", domain.placement},
            {"epc", extents_of(domain.grants)}};
  if (std::ranges::any_of(domain.cpus, [](const CpuSet& c) { return !c.empty(); })) {
    json cpus = json::array();
    for (const CpuSet& place : domain.cpus) cpus.push_back(place.empty() ? "all" : cpu_set_text(place));
    view["cpus"] = std::move(cpus);
  }
  if (!domain.vsock.empty()) view["vsock"] = domain.vsock;
  if (domain.platform) view["sgx_platform"] = to_text(*domain.platform);
  if (domain.paged) view["paging"] = to_json(*domain.paged);
  if (domain.balloon) view["balloon"] = to_json(*domain.balloon);
  if (domain.devices) view["devices"] = to_json(*domain.devices);
  if (domain.terms) {
    view["autostart"] = name_of(domain.terms->autostart);
    view["order"] = domain.terms->order;
    view["delay_seconds"] = domain.terms->delay_seconds;
    if (domain.id != 0) view["differs"] = domain.differs;
  }
  if (!domain.last_end.when.empty()) {
    view["ended"] = domain.last_end.when;
    view["ending"] = domain.last_end.how;
  }
  if (domain.save) {
    view["save"] = {{"file", domain.save->file},
                    {"going", domain.save->going},
                    {"enclaves", domain.save->enclaves ? "keep" : "lose"}};
    if (domain.save->snapshot) view["save"]["snapshot"] = true;
    if (domain.save->going) {
      view["save"]["bytes"] = domain.save->bytes;
      view["save"]["most_bytes"] = domain.save->most_bytes;
    }
    if (!domain.save->failed.empty()) view["save"]["failed"] = domain.save->failed;
  }
  if (domain.enclaves_kept) view["enclaves"] = *domain.enclaves_kept ? "keep" : "lose";
  if (domain.saved_for_host || domain.came) view["goes_on"] = true;
  if (domain.from_snapshot) view["snapshot"] = true;
  if (domain.move) view["migration"] = toolstack::view(*domain.move);
  if (!domain.start_failed.why.empty()) {
    view["failed"] = domain.start_failed.why;
    view["retried"] = domain.start_failed.retried;
  }
  if (!domain.warnings.empty()) view["warnings"] = domain.warnings;
  return view;
}

json view(const MoveInfo& move) {
  json view{{"session", move.session},
            {"to", move.peer},
            {"phase", move.phase},
            {"round", move.round},
            {"bytes", move.bytes},
            {"bytes_left", move.bytes_left},
            {"epc_bytes_left", move.epc_bytes_left},
            {"bytes_a_second", move.bytes_a_second},
            {"dirty_bytes_a_second", move.dirty_bytes_a_second},
            {"pause_ms", move.pause_ms}};
  if (!move.stood_still.empty()) view["stood_still"] = move.stood_still;
  if (!move.waits_for.empty()) view["waits_for"] = move.waits_for;
  if (!move.failed.empty()) view["failed"] = move.failed;
  return view;
}

json view(const KeyInfo& key) {
  json view{{"key", to_text(key.key)},
            {"kind", key.key.kind == KeyName::Kind::group ? "group" : "domain"},
            {"used_by", key.used_by}};
  if (!key.unread.empty()) {
    view["unread"] = key.unread;
    return view;
  }
  view["owner"] = to_json(key.owner);
  view["made"] = key.made;
  view["last_use"] = key.last_use;
  view["domain"] = key.domain;
  view["power_ons"] = key.power_ons;
  return view;
}

json view(const DefinitionInfo& info) {
  const Definition& definition = info.definition;
  json view{{"uuid", definition.uuid},
            {"name", definition.name},
            {"owner", to_json(definition.owner)},
            {"config", definition.text},
            {"file", definition.file},
            {"directory", definition.directory},
            {"autostart", name_of(definition.autostart)},
            {"order", definition.order},
            {"delay_seconds", definition.delay_seconds}};
  if (!info.warnings.empty()) view["warnings"] = info.warnings;
  return view;
}

json view(const AutostartInfo& autostart) {
  json pending = json::array(), failed = json::array();
  for (const PendingStart& one : autostart.pending) pending.push_back(one.name);
  for (const auto& [name, failure] : autostart.failed)
    failed.push_back({{"name", name}, {"reason", failure.why}, {"retried", failure.retried}});
  return {{"going_down", autostart.going_down}, {"pending", std::move(pending)}, {"failed", std::move(failed)}};
}

json view(const std::vector<Stopping>& stopping) {
  json list = json::array();
  for (const Stopping& one : stopping) {
    list.push_back({{"name", one.domain.name},
                    {"id", one.domain.id},
                    {"uuid", one.domain.uuid},
                    {"owner", to_json(one.domain.owner)},
                    {"order", one.order},
                    {"shutdown_timeout_seconds", one.shutdown_timeout},
                    {"on_host_shutdown", name_of(one.how)}});
    if (one.how == HostShutdown::save) list.back()["save_seconds"] = one.save_seconds;
  }
  return list;
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
    one["sections"] = sections_view(package.sections);
    packages.push_back(std::move(one));
  }
  json withdrawn = json::array();
  for (const EpcExtent& extent : epc.withdrawn) {
    for (u64 i = 0; i < extent.pages; ++i) withdrawn.push_back(extent.first.value + i);
  }
  json view = counts(epc.count);
  view["keys"] = text_of(machine.keys);
  view["launch_control"] = name_of(machine.launch_control);
  const EpcOvercommit& overcommit = machine.overcommit;
  view["overcommit"] = {{"ratio", overcommit.ratio ? json(*overcommit.ratio) : json(nullptr)},
                        {"reserve_mib", overcommit.reserve_mib},
                        {"chunk_mib", overcommit.chunk_mib}};
  view["migration"] = {{"reserve_mib", machine.versions_mib}};
  view["packages"] = std::move(packages);
  view["withdrawn"] = std::move(withdrawn);
  return view;
}

json view_epc_by_domain(const std::vector<DomainInfo>& domains) {
  json list = json::array();
  for (const DomainInfo& domain : domains) {
    if (domain.grants.empty()) continue;
    json one{{"id", domain.id},
             {"name", domain.name},
             {"epc_mib", domain.epc_mib},
             {"pages", pages_of(domain.grants)},
             {"extents", extents_of(domain.grants)}};
    if (domain.paged) one["paging"] = to_json(*domain.paged);
    if (domain.balloon) one["balloon"] = to_json(*domain.balloon);
    list.push_back(std::move(one));
  }
  return list;
}

json view_epc_map(const std::vector<PackageMap>& maps) {
  json packages = json::array();
  for (const PackageMap& map : maps) {
    json runs = json::array();
    for (const EpcRun& run : map.runs) {
      const json owner = run.owner == 0 ? json(nullptr) : json(run.owner);
      runs.push_back({{"first", run.first}, {"pages", run.pages}, {"owner", owner}, {"type", run.type}});
    }
    packages.push_back(
        {{"package", map.package}, {"sections", sections_view(map.sections)}, {"runs", std::move(runs)}});
  }
  return {{"packages", std::move(packages)}};
}

/// SGX of the host's own processors.
json hardware_view(const HostEpc& host) {
  u64 pages = 0;
  json sections = json::array();
  for (const PackageDescription& package : host.packages) {
    for (const EpcSectionDescription& section : package.epc) pages += section.bytes / arch::page_size;
    for (json& section : sections_view(package.epc)) sections.push_back(std::move(section));
  }
  return {{"available", host.sgx_off.empty()},
          {"kind", "hardware"},
          {"reason",
           host.sgx_off.empty() ? "the processors have it; domains run on Cloister's all the same" : host.sgx_off},
          {"epc_pages", pages},
          {"sections", std::move(sections)}};
}

json view(const MemoryInfo& memory) {
  const u64 all = memory.limit.mib();
  return {{"total_mib", all},
          {"held_mib", memory.held_mib},
          {"free_mib", all > memory.held_mib ? all - memory.held_mib : 0},
          {"overcommit", memory.limit.overcommit},
          {"origin", memory.limit.host.origin},
          {"control_groups", memory.controllers},
          {"reason", memory.no_groups}};
}

json view_host(const MachineDescription& machine, const HostEpc& host, const MemoryInfo& domains,
               const Processors& processors) {
  json engine_names = json::array();
  for (const Engine engine : engines) {
    if (processors.with(engine) != nullptr) engine_names.push_back(name_of(engine));
  }
  utsname system{};
  ::uname(&system);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  json peers = json::array();
  for (const MovePeer& peer : machine.peers) peers.push_back(peer.name);
  u64 pages = 0;
  for (const PackageDescription& package : machine.packages) {
    for (const EpcSectionDescription& section : package.epc) pages += section.bytes / arch::page_size;
  }
  return {{"version", CLOISTER_VERSION},
          {"kernel", system.release},
          {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"memory_mib", (u64{memory.totalram} * memory.mem_unit) >> 20},
          {"domain_memory", view(domains)},
          {"machine", machine.origin},
          {"silicon", machine.silicon.empty() ? "default" : machine.silicon},
          {"engine", name_of(machine.engine)},
          {"engines", std::move(engine_names)},
          {"sgx",
           {{"available", pages != 0},
            {"kind", "software"},
            {"reason", pages == 0 ? "no EPC: " + machine.sgx_off : "enclaves run on Cloister's software processor"},
            {"epc_pages", pages}}},
          {"host_sgx", hardware_view(host)},
          {"packages", machine.packages.size()},
          {"keys", text_of(machine.keys)},
          {"launch_control", name_of(machine.launch_control)},
          {"peers", std::move(peers)}};
}

}  // namespace cloister::toolstack
