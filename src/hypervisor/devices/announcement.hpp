// What a domain says on its networks when it goes on at another place: one frame from its own address, by which bridges
// and switches learn where that is now. It asks for the address of whoever has its own (RARP, RFC 903), which nobody
// needs to answer; QEMU announces guests likewise.
#pragma once

#include <array>
#include <cstddef>

#include "platform/virtio/net.hpp"

namespace cloister::hypervisor {

/// The shortest that Ethernet has (IEEE 802.3, 3.2.8), without its check sequence.
using Announcement = std::array<std::byte, 60>;
Announcement announcement_of(const platform::virtio::MacAddress& mac);

}  // namespace cloister::hypervisor
