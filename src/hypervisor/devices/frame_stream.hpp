// A wire that is a stream socket: each frame behind its length in four bytes, most significant first, as passt(1) and
// QEMU's `-netdev stream` have it. Who is at the other end is not trusted: what cannot be a frame ends the stream, and
// so does its end.
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

class FrameStream final : public platform::virtio::Wire {
 public:
  /// What a guest sends to the host's own loopback goes nowhere, or where it is sent (host_guard.hpp).
  enum class Host : bool { out_of_reach, reached };
  static tl::expected<std::shared_ptr<FrameStream>, std::string> create(Fd socket, Host host);
  FrameStream(Fd socket, Fd wake, Host host);

  bool up() const override { return up_; }
  std::span<const std::byte> frame(unsigned) const override;
  void pop(unsigned) override;
  bool has_room() const override { return !up_ || (!blocked_ && out_.size() < most_waiting); }
  bool send(unsigned, const platform::virtio::FrameHeader& header, std::span<const std::byte> frame) override;
  void flush() override;
  void wait(platform::virtio::Lanes for_frames) override;
  void wake() override;

 private:
  static constexpr std::size_t length_bytes = 4, in_bytes = 256 << 10, most_waiting = 128 << 10;
  /// What is sent at once: whole frames, of so many bytes with their lengths. The kernel queues it in one piece
  /// (unix_stream_sendmsg() makes pieces of 36 KiB), so that whoever reads never finds a part of a frame: Debian 12's
  /// passt then takes the guest's bytes for lengths.
  static constexpr std::size_t most_together = 32 << 10;
  /// From here on in `out_`, the end of the frames that are sent next.
  std::size_t end_of_frames(std::size_t from) const;
  void fill();
  void look_for_frame();
  void end();

  const Fd socket_;
  Waker waker_;
  const Host host_;
  bool up_ = true;
  /// [begin_, end_) of `in_` has come, and begins with the length of a frame; of a whole one frame_ is how long it is.
  std::vector<std::byte> in_;
  std::size_t begin_ = 0, end_ = 0, frame_ = 0;
  std::vector<std::byte> out_;  ///< what has not gone out yet
  std::size_t begun_ = 0;       ///< the first so many bytes of it are the rest of frames that were sent together
  bool blocked_ = false;        ///< it has no room there
};

}  // namespace cloister::hypervisor
