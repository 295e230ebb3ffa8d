// A TAP interface (linux/if_tun.h) that is a port of one of the host's bridges. It is there as long as somebody has one
// of its descriptors, and nothing of it is left then, however that ends.
#pragma once

#include <array>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

struct BridgePort {
  std::string bridge;
  std::string name{};           ///< of the interface; empty: cloister0, cloister1 and so on, whichever is free
  std::array<u8, 6> guest_mac;  ///< of who is behind it
  unsigned queues = 1;          ///< of the kernel's
};

/// Needs the right to administer the network (CAP_NET_ADMIN). A descriptor for each queue; each read of one and each
/// write, none of which waits, is a frame behind the 12 bytes of virtio's header. The error is for a person.
tl::expected<std::vector<Fd>, std::string> open_tap(const BridgePort& port);

/// It is such an interface's.
bool is_tap(int fd);

}  // namespace cloister::toolstack
