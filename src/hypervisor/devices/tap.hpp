// A wire that is a TAP interface of the host's kernel, tuntap(4) (linux/if_tun.h): each read and write is a frame
// behind a header of virtio's, in which checksums and segments are left to the kernel, and by the kernel to the guest
// as far as its driver takes them. Each descriptor is a queue of the kernel's, and a lane: frames of a flow come into
// that by which the guest sent its last one. The interface is there as long as one of its descriptors.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/fd.hpp"
#include "hypervisor/devices/waker.hpp"
#include "platform/virtio/wire.hpp"

namespace cloister::hypervisor {

class Tap final : public platform::virtio::Wire {
 public:
  /// Of host/tap_interface.hpp.
  static tl::expected<std::shared_ptr<Tap>, std::string> create(std::vector<Fd> queues);
  Tap(std::vector<Fd> queues, Fd wake);

  bool up() const override { return up_; }
  unsigned lanes() const override { return static_cast<unsigned>(lanes_.size()); }
  std::span<const std::byte> frame(unsigned lane) const override;
  platform::virtio::FrameHeader header(unsigned lane) const override;
  void pop(unsigned lane) override { fill(lanes_[lane]); }
  bool has_room() const override { return true; }
  /// The kernel takes it at once, or nobody does.
  bool send(unsigned lane, const platform::virtio::FrameHeader& header, std::span<const std::byte> frame) override;
  void flush() override {}
  u64 offloads() const override { return platform::virtio::all_offloads; }
  void take_offloads(u64 offloads) override;
  void wait(platform::virtio::Lanes for_frames) override;
  void wake() override;

 private:
  struct Lane {
    Fd queue;
    std::vector<std::byte> in;
    std::size_t frame = 0;  ///< bytes behind the header in `in`
  };
  void fill(Lane& lane);
  void end();

  std::vector<Lane> lanes_;
  Waker waker_;
  std::atomic<unsigned> taken_{0};  ///< TUN_F_*
  bool up_ = true;
};

}  // namespace cloister::hypervisor
