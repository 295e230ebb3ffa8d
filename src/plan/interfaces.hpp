// What a domain's network interfaces are made of, from what its configuration says of them.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"
#include "host/fd.hpp"
#include "host/tap_interface.hpp"
#include "platform/virtio/net.hpp"

namespace cloister::toolstack {

/// The address of an interface: the one that is said, or one of the domain's own, which stays the same as long as its
/// uuid does, or, of one without, its name.
MacAddress mac_of(const DomainConfig& config, std::size_t interface);

/// What one that is on a bridge is there.
BridgePort bridge_port(const DomainConfig& config, std::size_t interface);

/// passt's arguments for one of the type `user` (host/passt.hpp).
std::vector<std::string> passt_arguments(const InterfaceConfig& interface);

/// The error of one that cannot be had, at its element.
Diagnostic cannot_use(const DomainConfig& config, std::size_t interface, const std::string& why);

/// What carries an interface's frames: our end of a connection, or a descriptor for each of its queues.
using Connections = std::vector<Fd>;
Connections as_connections(Fd one);

/// Makes or starts what carries their frames, with this process's rights.
tl::expected<std::vector<Connections>, Diagnostic> start_networks(const DomainConfig& config);

/// The interfaces on such connections.
tl::expected<std::vector<platform::virtio::NetConfig>, Diagnostic> interfaces_on(const DomainConfig& config,
                                                                                 std::vector<Connections> connections);

}  // namespace cloister::toolstack
