// A wire that is a TAP interface of the host's kernel, tuntap(4) (linux/if_tun.h): each read and write is a frame
// behind a header of virtio's, in which checksums and segments are left to the kernel, and by the kernel to the guest
// as far as its driver takes them. The interface is there as long as its descriptor.
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
  static tl::expected<std::shared_ptr<Tap>, std::string> create(Fd interface);
  Tap(Fd interface, Fd wake);

  bool up() const override { return up_; }
  std::span<const std::byte> frame() const override;
  platform::virtio::FrameHeader header() const override;
  void pop() override { fill(); }
  bool has_room() const override { return true; }
  /// The kernel takes it at once, or nobody does.
  bool send(const platform::virtio::FrameHeader& header, std::span<const std::byte> frame) override;
  void flush() override {}
  u64 offloads() const override { return platform::virtio::all_offloads; }
  void take_offloads(u64 offloads) override;
  void wait(bool for_frames) override;
  void wake() override;

 private:
  void fill();
  void end();

  const Fd interface_;
  Waker waker_;
  std::atomic<unsigned> taken_{0};  ///< TUN_F_*
  bool up_ = true;
  std::vector<std::byte> in_;
  std::size_t frame_ = 0;  ///< bytes behind the header in `in_`
};

}  // namespace cloister::hypervisor
