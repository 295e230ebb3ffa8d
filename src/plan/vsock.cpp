#include "plan/vsock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/unix_socket.hpp"
#include "host/vsock_connector.hpp"
#include "hypervisor/devices/unix_peers.hpp"

namespace cloister::toolstack {

namespace {

Diagnostic no_vsock(const DomainConfig& config, const std::string& why) {
  return {config.position_of("vsock"), "'vsock': " + why};
}

}  // namespace

tl::expected<VsockEnds, Diagnostic> start_vsock(const DomainConfig& config) {
  VsockEnds ends;
  if (!config.vsock) return ends;
  const auto failed = [&](const std::string& why) { return tl::unexpected(no_vsock(config, why)); };
  const std::filesystem::path path = config.vsock->path;
  if (path.empty()) return failed("found no path=, which says where its sockets are, expected one without a daemon");
  const Fd folder(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failed(fmt::format("cannot open {}: {}", path.parent_path().string(), std::strerror(errno)));
  // What is left there is replaced, and not what is in use.
  if (connect_to(path, SOCK_STREAM)) return failed(fmt::format("somebody listens at {}", path.string()));
  auto listening = listen_at(folder.get(), path.filename(), SOCK_STREAM, 0600, path.parent_path());
  if (!listening) return failed(listening.error());
  auto connector = start_connector(path);
  if (!connector) return failed(connector.error());
  ends.listening = std::move(*listening);
  ends.connector = std::move(*connector);
  return ends;
}

tl::expected<platform::virtio::VsockConfig, Diagnostic> vsock_on(const DomainConfig& config, VsockEnds ends) {
  platform::virtio::VsockConfig vsock{.peers = nullptr};
  if (!config.vsock) return vsock;
  auto peers = hypervisor::UnixPeers::create(std::move(ends.listening), std::move(ends.connector),
                                             std::chrono::seconds(config.rtc_timeoffset));
  if (!peers) return tl::unexpected(no_vsock(config, peers.error()));
  vsock.peers = std::move(*peers);
  vsock.cid = config.vsock->guest_cid();
  return vsock;
}

}  // namespace cloister::toolstack
