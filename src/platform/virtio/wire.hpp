// What is behind a network interface: frames of Ethernet come from it and go to it, in one lane or several, in each of
// which they keep their order. Whoever has the interface's turn calls all of this; others only wake().
#pragma once

#include <cstddef>
#include <span>

#include "arch/types.hpp"
#include "platform/virtio/offloads.hpp"

namespace cloister::platform::virtio {

/// Most lanes, 2 queues of a device each.
inline constexpr unsigned most_lanes = 8;

/// A frame, without its check sequence.
inline constexpr std::size_t least_frame = 14, most_frame = least_frame + 65535;

/// A bit for each lane.
using Lanes = u32;

class Wire {
 public:
  Wire() = default;
  virtual ~Wire() = default;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  /// Once it is not, it never is again: nothing comes, and what is sent is lost.
  virtual bool up() const = 0;
  /// 1 to most_lanes, always the same.
  virtual unsigned lanes() const { return 1; }
  /// The frame that came first of those that are there, least_frame to most_frame bytes; empty: none is.
  virtual std::span<const std::byte> frame(unsigned lane) const = 0;
  /// What is left of it to whoever gets it.
  virtual FrameHeader header(unsigned) const { return {}; }
  virtual void pop(unsigned lane) = 0;
  /// It takes a frame now.
  virtual bool has_room() const = 0;
  /// Likewise as long. What has been sent goes out with flush() at last. False: it goes nowhere.
  virtual bool send(unsigned lane, const FrameHeader& header, std::span<const std::byte> frame) = 0;
  virtual void flush() = 0;

  /// The offloads (offloads.hpp) that it can do, always the same; and those that the driver has taken. Frames that came
  /// before may still have others. Anybody may call it at any time.
  virtual u64 offloads() const { return 0; }
  virtual void take_offloads(u64) {}

  /// Until something has changed: a frame has come in a lane where these are wanted, there is room, it is not up any
  /// more, or somebody wakes who waits here, or next.
  virtual void wait(Lanes for_frames) = 0;
  virtual void wake() = 0;
};

}  // namespace cloister::platform::virtio
