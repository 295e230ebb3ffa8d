// A console (virtio 1.2, 5.3) with one port: what the driver gives is printed, and what comes from outside waits until
// it has room for it. Linux calls its port hvc0. What is printed is printed while its domain waits, as with a serial
// port.
#pragma once

#include <deque>
#include <functional>

#include "platform/virtio/device.hpp"

namespace cloister::platform::virtio {

class Console final : public Device {
 public:
  static constexpr u64 most_printed = 1 << 16;  ///< bytes of one buffer
  using Transmit = std::function<void(u8)>;
  Console(Transmit transmit, Surroundings surroundings);

  /// A driver uses it: bytes from outside are for this console.
  bool has_driver() const { return alive(); }
  /// Bytes from the outside; kept in order until the driver takes them, by work(), or begins anew.
  void receive(std::span<const u8> bytes) { line_.insert(line_.end(), bytes.begin(), bytes.end()); }
  std::size_t backlog() const { return line_.size(); }

  /// All that it remembers.
  struct State {
    std::deque<u8> line{};
    Device::State device{};
    bool operator==(const State&) const = default;
  };
  State state() const { return {line_, Device::state()}; }
  /// The error is for a person; then it has not changed.
  tl::expected<void, std::string> set_state(const State& state);

 private:
  u64 own_features() const override { return 0; }
  std::span<const u8> own_config() const override { return layout_; }
  bool can_serve(unsigned number) const override;
  Checked<bool> serve(unsigned number, Queue& queue) override;
  void was_reset() override { line_.clear(); }
  Checked<bool> give(Queue& queue);
  Checked<bool> print(Queue& queue);

  const Transmit transmit_;
  const std::array<u8, 12> layout_{};  ///< its size and the number of its ports, of which no feature speaks (5.3.4)
  std::deque<u8> line_;
};

}  // namespace cloister::platform::virtio
