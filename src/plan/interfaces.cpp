#include "plan/interfaces.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "config/interfaces.hpp"
#include "host/passt.hpp"
#include "hypervisor/devices/frame_stream.hpp"
#include "hypervisor/devices/tap.hpp"

namespace cloister::toolstack {

namespace {

/// FNV-1a, and then every bit spread over all (the finalizer of SplitMix64).
u64 hash_of(std::string_view text) {
  u64 hash = 0xcbf2'9ce4'8422'2325;
  for (const char byte : text) hash = (hash ^ static_cast<u8>(byte)) * 0x0000'0100'0000'01b3;
  hash = (hash ^ hash >> 30) * 0xbf58'476d'1ce4'e5b9;
  hash = (hash ^ hash >> 27) * 0x94d0'49bb'1331'11eb;
  return hash ^ hash >> 31;
}

}  // namespace

// Locally administered, and of one interface (IEEE 802-2014, 8.4).
MacAddress mac_of(const DomainConfig& config, std::size_t interface) {
  if (config.interfaces[interface].mac) return *config.interfaces[interface].mac;
  u64 hash = hash_of(fmt::format("{}/{}", config.uuid.empty() ? config.name : config.uuid, interface));
  MacAddress mac;
  for (u8& byte : mac) {
    byte = static_cast<u8>(hash);
    hash >>= 8;
  }
  mac[0] = (mac[0] & 0xfc) | 2;
  return mac;
}

/// What DHCP tells the guest: its frames then fit what is sent at once (hypervisor/devices/frame_stream.hpp).
constexpr const char mtu[] = "32000";

// Without its own options it forwards no TCP port, and UDP's with the numbers of TCP's.
std::vector<std::string> passt_arguments(const InterfaceConfig& interface) {
  std::vector<std::string> words{"--mtu", mtu};
  if (!interface.reaches_host) words.emplace_back("--no-map-gw");
  for (const bool udp : {false, true}) {
    const char* const option = udp ? "--udp-ports" : "--tcp-ports";
    bool any = false;
    for (const PortForward& forward : interface.forwards) {
      if (forward.udp != udp) continue;
      any = true;
      const std::string address = forward.address.empty() ? "" : forward.address + "/";
      words.insert(words.end(), {option, fmt::format("{}{}:{}", address, forward.host_port, forward.guest_port)});
    }
    if (!any) words.insert(words.end(), {option, "none"});
  }
  return words;
}

BridgePort bridge_port(const DomainConfig& config, std::size_t interface) {
  const InterfaceConfig& one = config.interfaces[interface];
  return {.bridge = one.bridge, .name = one.host_name, .guest_mac = mac_of(config, interface), .queues = one.queues};
}

Diagnostic cannot_use(const DomainConfig& config, std::size_t interface, const std::string& why) {
  return {config.interfaces[interface].at, fmt::format("cannot use vif {}: {}", interface, why)};
}

Connections as_connections(Fd one) {
  Connections all;
  all.push_back(std::move(one));
  return all;
}

tl::expected<std::vector<Connections>, Diagnostic> start_networks(const DomainConfig& config) {
  std::vector<Connections> connections;
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
    const InterfaceConfig& one = config.interfaces[i];
    auto its =
        one.bridge.empty() ? start_passt(passt_arguments(one)).map(as_connections) : open_tap(bridge_port(config, i));
    if (!its) return tl::unexpected(cannot_use(config, i, its.error()));
    connections.push_back(std::move(*its));
  }
  return connections;
}

namespace {

tl::expected<std::shared_ptr<platform::virtio::Wire>, std::string> wire_on(const InterfaceConfig& interface,
                                                                           Connections connections) {
  using hypervisor::FrameStream;
  if (!interface.bridge.empty()) return hypervisor::Tap::create(std::move(connections));
  return FrameStream::create(std::move(connections.front()),
                             interface.reaches_host ? FrameStream::Host::reached : FrameStream::Host::out_of_reach);
}

}  // namespace

tl::expected<std::vector<platform::virtio::NetConfig>, Diagnostic> interfaces_on(const DomainConfig& config,
                                                                                 std::vector<Connections> connections) {
  std::vector<platform::virtio::NetConfig> interfaces;
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
    auto wire = wire_on(config.interfaces[i], std::move(connections[i]));
    if (!wire) return tl::unexpected(cannot_use(config, i, wire.error()));
    interfaces.push_back({.wire = std::move(*wire), .mac = mac_of(config, i)});
  }
  return interfaces;
}

}  // namespace cloister::toolstack
