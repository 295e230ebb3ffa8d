// What a domain's devices have done, by their places.
#pragma once

#include "platform/virtio/counts.hpp"

namespace cloister::hypervisor {

struct DeviceCounts {
  /// Of disks and network interfaces, so many are counted.
  static constexpr std::size_t most_disks = 16, most_interfaces = 8;

  std::array<platform::virtio::BlockCounts, most_disks> disks{};
  std::array<platform::virtio::NetCounts, most_interfaces> interfaces{};
  platform::virtio::VsockCounts vsock{};
};

}  // namespace cloister::hypervisor
