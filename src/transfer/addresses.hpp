// TCP by HOST:PORT.
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/fd.hpp"

namespace cloister::toolstack {

struct HostPort {
  std::string host, port;
};
/// HOST:PORT, or [ADDRESS]:PORT.
tl::expected<HostPort, std::string> read_host_port(const std::string& text);

/// Connected, and not waiting.
tl::expected<Fd, std::string> reach_tcp(const HostPort& to, std::chrono::milliseconds in);
/// Listening, at every address that the host has; one at least.
tl::expected<std::vector<Fd>, std::string> listen_tcp(const HostPort& at);
/// An end that has vanished is noticed, and small messages go at once.
void prepare_tcp(int socket);

}  // namespace cloister::toolstack
