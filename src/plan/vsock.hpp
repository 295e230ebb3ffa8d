// What the sockets between a domain and its host are made of, from what its configuration says of them.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/domain_config.hpp"
#include "host/fd.hpp"
#include "platform/virtio/vsock.hpp"

namespace cloister::toolstack {

/// Both of its ends: where programs of the host connect, and what connects to them (host/vsock_connector.hpp).
struct VsockEnds {
  Fd listening{}, connector{};
};

/// They are made by this process, with its rights: the listening socket at the configuration's path, which must be
/// removed in the end. Of a domain without vsock: none.
tl::expected<VsockEnds, Diagnostic> start_vsock(const DomainConfig& config);

/// The device on such ends.
tl::expected<platform::virtio::VsockConfig, Diagnostic> vsock_on(const DomainConfig& config, VsockEnds ends);

}  // namespace cloister::toolstack
