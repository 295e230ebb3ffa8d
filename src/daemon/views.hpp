// What the API shows, as JSON; docs/openapi.json describes each shape.
#pragma once

#include <nlohmann/json.hpp>

#include "daemon/domains.hpp"
#include "daemon/epc_map.hpp"

namespace cloister::toolstack {

nlohmann::json view(const DomainInfo& domain);
nlohmann::json view(const KeyInfo& key);
nlohmann::json view(const MoveInfo& move);
/// With the text itself.
nlohmann::json view(const DefinitionInfo& info);
nlohmann::json view(const AutostartInfo& autostart);
nlohmann::json view(const std::vector<Stopping>& stopping);
nlohmann::json view(const ApiError& error);
/// sgx-info.
nlohmann::json view_epc(const MachineDescription& machine, const MachineEpcInfo& epc);
/// sgx-list.
nlohmann::json view_epc_by_domain(const std::vector<DomainInfo>& domains);
nlohmann::json view_epc_map(const std::vector<PackageMap>& maps);
/// `host`: what it has itself, beside the machine that it is made into.
nlohmann::json view_host(const MachineDescription& machine, const HostEpc& host, const MemoryInfo& domains,
                         const Processors& processors);

}  // namespace cloister::toolstack
