#include "hypervisor/devices/host_guard.hpp"

#include <algorithm>

#include "arch/types.hpp"

namespace cloister::hypervisor {
namespace {

constexpr std::size_t type_at = 12, packet_at = 14;
constexpr u16 ipv4 = 0x0800, ipv6 = 0x86dd;
constexpr std::size_t ipv4_destination_at = packet_at + 16, ipv6_destination_at = packet_at + 24, ipv6_bytes = 16;
/// Of an address of IPv6: zeros, and behind them one that is the host or IPv4's.
constexpr std::size_t zeros = 10;

u8 byte_at(std::span<const std::byte> frame, std::size_t at) {
  return at < frame.size() ? std::to_integer<u8>(frame[at]) : u8{0};
}

}  // namespace

// A frame that ends before its address does is nobody's.
bool is_for_the_host_itself(std::span<const std::byte> frame) {
  const unsigned type = byte_at(frame, type_at) << 8 | byte_at(frame, type_at + 1);
  if (type == ipv4) {
    const u8 first = byte_at(frame, ipv4_destination_at);
    return first == 127 || first == 0;
  }
  if (type != ipv6 || frame.size() < ipv6_destination_at + ipv6_bytes) return type == ipv6;
  const auto address = frame.subspan(ipv6_destination_at, ipv6_bytes);
  return std::ranges::all_of(address.first(zeros), [](std::byte one) { return one == std::byte{0}; });
}

}  // namespace cloister::hypervisor
