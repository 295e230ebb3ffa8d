#include "hypervisor/devices/tap.hpp"

#include <linux/if_tun.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace cloister::hypervisor {

using platform::virtio::FrameHeader;

namespace {

/// The kernel's is as long as a driver's (host/tap_interface.hpp); how many buffers a frame takes it neither says nor
/// reads.
constexpr std::size_t header_bytes = 12;

/// What the driver takes, in the kernel's words, which refuses one without what it needs.
unsigned tun_flags(u64 offloads) {
  namespace virtio = platform::virtio;
  const auto has = [offloads](u64 feature) { return (offloads & feature) != 0; };
  if (!has(virtio::feature_guest_checksum)) return 0;
  unsigned segments = 0;
  if (has(virtio::feature_guest_tso4)) segments |= TUN_F_TSO4;
  if (has(virtio::feature_guest_tso6)) segments |= TUN_F_TSO6;
  if (segments != 0 && has(virtio::feature_guest_ecn)) segments |= TUN_F_TSO_ECN;
  return TUN_F_CSUM | segments;
}

}  // namespace

tl::expected<std::shared_ptr<Tap>, std::string> Tap::create(std::vector<Fd> queues) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return tl::unexpected(std::string(std::strerror(errno)));
  return std::make_shared<Tap>(std::move(queues), std::move(wake));
}

Tap::Tap(std::vector<Fd> queues, Fd wake) : waker_(std::move(wake)) {
  for (Fd& queue : queues)
    lanes_.push_back({std::move(queue), std::vector<std::byte>(header_bytes + platform::virtio::most_frame + 1)});
}

std::span<const std::byte> Tap::frame(unsigned lane) const {
  return std::span(lanes_[lane].in).subspan(header_bytes, lanes_[lane].frame);
}

FrameHeader Tap::header(unsigned lane) const {
  FrameHeader header;
  std::memcpy(&header, lanes_[lane].in.data(), sizeof header);
  return header;
}

/// What cannot be a frame is passed over.
void Tap::fill(Lane& lane) {
  lane.frame = 0;
  while (up_ && lane.frame == 0) {
    const ssize_t got = ::read(lane.queue.get(), lane.in.data(), lane.in.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return end();
    const std::size_t bytes = static_cast<std::size_t>(got);
    if (bytes >= header_bytes + platform::virtio::least_frame && bytes < lane.in.size())
      lane.frame = bytes - header_bytes;
  }
}

void Tap::end() {
  up_ = false;
  for (Lane& lane : lanes_) lane.frame = 0;
}

bool Tap::send(unsigned lane, const FrameHeader& header, std::span<const std::byte> frame) {
  if (!up_) return false;
  std::array<std::byte, header_bytes> first{};
  std::memcpy(first.data(), &header, sizeof header);
  // writev(2) only reads.
  iovec parts[] = {{first.data(), first.size()}, {const_cast<std::byte*>(frame.data()), frame.size()}};
  ssize_t sent = 0;
  do {
    sent = ::writev(lanes_[lane].queue.get(), parts, 2);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

/// Each change waits for a lock of the host's network, so only those are made.
void Tap::take_offloads(u64 offloads) {
  const unsigned flags = tun_flags(offloads);
  if (taken_.exchange(flags) != flags) ::ioctl(lanes_.front().queue.get(), TUNSETOFFLOAD, flags);
}

void Tap::wait(platform::virtio::Lanes for_frames) {
  std::array<pollfd, 1 + platform::virtio::most_lanes> all{waker_.to_poll()};
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    const bool reads = (for_frames >> i & 1) != 0 && lanes_[i].frame == 0;
    all[1 + i] = {
        .fd = up_ ? lanes_[i].queue.get() : -1, .events = static_cast<short>(reads ? POLLIN : 0), .revents = 0};
  }
  ::poll(all.data(), 1 + lanes_.size(), -1);
  waker_.polled(all[0].revents);
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    const int happened = all[1 + i].revents;
    if ((happened & (POLLHUP | POLLERR | POLLNVAL)) != 0) return end();  // somebody has removed the interface
    if ((happened & POLLIN) != 0) fill(lanes_[i]);
  }
}

void Tap::wake() { waker_.wake(); }

}  // namespace cloister::hypervisor
