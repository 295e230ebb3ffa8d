// `vsock`: the guest's context identifier, or "cid=CID,path=PATH".
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

tl::expected<SocketsConfig, Diagnostic> read_vsock(const xl::Setting& setting);
std::string vsock_text(const SocketsConfig& sockets);

}  // namespace cloister::toolstack
