// A source of random bytes (virtio 1.2, 5.4): one queue of buffers that it fills. With each it does as much as it
// likes, but for nothing, and so no request takes long.
#pragma once

#include <functional>

#include "platform/virtio/device.hpp"

namespace cloister::platform::virtio {

class Rng final : public Device {
 public:
  static constexpr u64 most_bytes = 4096;  ///< of one request
  /// Fills with random bytes of the host's. False: it cannot.
  using Source = std::function<bool(std::span<std::byte> to)>;
  /// source: empty: its bytes are a sequence, the same for every domain.
  Rng(Source source, Surroundings surroundings);

  /// All that it remembers.
  struct State {
    u64 drawn = 0;  ///< numbers of that sequence
    Device::State device{};
    bool operator==(const State&) const = default;
  };
  State state() const { return {drawn_, Device::state()}; }
  /// The error is for a person; then it has not changed.
  tl::expected<void, std::string> set_state(const State& state);

 private:
  u64 own_features() const override { return 0; }
  std::span<const u8> own_config() const override { return {}; }
  Checked<bool> serve(unsigned number, Queue& queue) override;
  bool fill(std::span<std::byte> to);

  const Source source_;
  u64 drawn_ = 0;
};

}  // namespace cloister::platform::virtio
