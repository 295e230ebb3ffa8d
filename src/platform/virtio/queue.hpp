// A split virtqueue from the device's side (virtio 1.2, 2.7), with indirect descriptors and the event index. The driver
// writes descriptors and rings, at any time and whatever it likes: each is read once, into a copy, and looked at there.
// What cannot be is an error, of which the device's only way out is a reset.
#pragma once

#include <optional>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "platform/dma.hpp"

namespace cloister::platform::virtio {

/// The driver did what it must not.
struct Broken {
  std::string_view why;
};
template <class T>
using Checked = tl::expected<T, Broken>;

/// The buffers of a request: what the device reads, and behind it what it writes.
struct Chain {
  struct Part {
    arch::Gpa at;
    u32 bytes = 0;
  };
  u16 head = 0;
  std::vector<Part> readable, writable;
  u64 readable_bytes = 0, writable_bytes = 0;

  /// Bytes from `offset` on of what the device reads or writes. They are within it, or it is an error, as is what is no
  /// RAM.
  Checked<void> read(const Dma& dma, u64 offset, std::span<std::byte> to) const;
  Checked<void> write(Dma& dma, u64 offset, std::span<const std::byte> from) const;
};

class Queue {
 public:
  static constexpr u16 most_descriptors = 128, no_vector = 0xffff;
  /// All that it remembers.
  struct State {
    u16 size = most_descriptors;
    u16 vector = no_vector;  ///< of MSI-X
    bool enabled = false;
    bool waits = false;  ///< the driver has notified it, and it has not been served yet
    u64 descriptors = 0, driver = 0, device = 0;
    u16 next_available = 0, next_used = 0;
    u16 told = 0;  ///< next_used when the driver was last asked whether it wants to hear of it
    bool operator==(const State&) const = default;
  };
  explicit Queue(Dma& dma) : dma_(&dma) {}

  State state;
  /// What was negotiated.
  bool indirect = false, event_index = false;

  /// Its size and the alignment of its parts are possible (2.7).
  Checked<void> check() const;

  /// The next request; nullopt: there is none.
  Checked<std::optional<Chain>> pop();
  /// It was done, having written so many bytes.
  struct Done {
    u16 head = 0;
    u32 written = 0;
  };
  Checked<void> push(const Chain& chain, u32 written);
  /// Likewise several, which the driver sees all at once.
  Checked<void> push(std::span<const Done> all);
  /// Asks the driver for a notification of the next request. True: there is one already.
  Checked<bool> listen();
  /// The driver wants an interrupt for what was pushed since it was last asked.
  Checked<bool> wants_interrupt();

 private:
  Checked<u16> available_index() const;
  u64 slot(u16 index) const { return u64{index} & (u64{state.size} - 1); }
  template <class T>
  Checked<T> load(u64 from) const;
  template <class T>
  Checked<void> store(u64 to, T value);

  Dma* dma_;
};

}  // namespace cloister::platform::virtio
