// Ways to other machines over TLS, which a process beside the daemon carries (docs/migration.md, "By TLS"): the daemon
// has no network, and that process no rights, and a key of an hour instead of the machine's.
//
// Where systemd has one that may use the network (packaging/cloister-transfer-out.socket), root's daemon has that one
// carry, and else one of its own.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "daemon/machine_key.hpp"
#include "host/process.hpp"
#include "machine/machine.hpp"

namespace cloister::toolstack {

/// What such a process is told: {"certificates", "key", "peers"}. Secret.
nlohmann::json transfer_order(const MachineKey& key, const std::vector<MovePeer>& peers);

/// Has a client's connection carried to whoever listens at HOST:PORT, once that has proved to be one of the peers:
/// which one it is. connection: borrowed; nothing comes on it before the client says something.
tl::expected<std::string, std::string> reach_machine(const std::string& program, const nlohmann::json& order,
                                                     const std::string& to, int connection);

/// Starts the process that listens at HOST:PORT for other machines, and ends with this one.
tl::expected<Process, std::string> listen_for_machines(const std::string& program, const std::string& run,
                                                       const std::string& at);

}  // namespace cloister::toolstack
