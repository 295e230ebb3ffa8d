// Which frames of a guest would reach the host itself. What carries frames to the network by sockets (passt) connects
// to the address that a frame names: of the host's own loopback, that is the host.
#pragma once

#include <cstddef>
#include <span>

namespace cloister::hypervisor {

/// It is for an address that means the host that sends to it (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2, 2.5.3 and 2.5.5):
/// 127.0.0.0/8, 0.0.0.0/8, ::, ::1, and IPv4's addresses as IPv6's.
bool is_for_the_host_itself(std::span<const std::byte> frame);

}  // namespace cloister::hypervisor
