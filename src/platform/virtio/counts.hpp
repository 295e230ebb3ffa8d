// What devices have done, for whoever looks while they do. Memory of the caller's, which may be shared with other
// processes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "arch/types.hpp"

namespace cloister::platform::virtio {

struct BlockCounts {
  /// Requests are counted by how long they took: in the bucket of the first bound that is not less, or the last.
  static constexpr std::array<u64, 7> bounds_us{100, 300, 1'000, 10'000, 100'000, 1'000'000, 10'000'000};
  enum Request : std::size_t { read, write, flush, clear, kinds };  ///< clear: discards, and writes of zeros

  std::array<std::atomic<u64>, kinds> requests{};
  std::atomic<u64> read_bytes{0}, written_bytes{0}, errors{0};
  std::array<std::atomic<u64>, bounds_us.size() + 1> latency{};
  std::atomic<u64> nanoseconds{0};  ///< that all of them took
};

/// As the guest sees them; of frames that are dropped it sees neither.
struct NetCounts {
  std::atomic<u64> received_frames{0}, received_bytes{0}, received_drops{0};
  std::atomic<u64> sent_frames{0}, sent_bytes{0}, sent_drops{0};
};

struct VsockCounts {
  std::atomic<u64> open{0};                           ///< connections that are there
  std::atomic<u64> connections{0}, refused{0};        ///< that were made, in both directions, and that were not
  std::atomic<u64> received_bytes{0}, sent_bytes{0};  ///< by the guest
};
static_assert(std::atomic<u64>::is_always_lock_free);

}  // namespace cloister::platform::virtio
