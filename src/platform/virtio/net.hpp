// A network interface (virtio 1.2, 5.1): for each lane of its wire a queue of buffers that frames come into, and one of
// frames that go out; where there are several lanes, also a queue by which the driver says how many such pairs it uses.
// It offers buffers that are merged for a long frame, an address of its own, whether there is a link, and the offloads
// of its wire. While a frame is copied the driver may do what it likes (Device::apart).
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/virtio/counts.hpp"
#include "platform/virtio/device.hpp"
#include "platform/virtio/wire.hpp"

namespace cloister::platform::virtio {

using MacAddress = std::array<u8, 6>;

struct NetConfig {
  std::shared_ptr<Wire> wire;
  MacAddress mac{};
  NetCounts* counts = nullptr;  ///< where it counts; null: nobody looks
};

class Net final : public Device {
 public:
  /// Of the first pair; those of the others follow, each two numbers higher (5.1.2).
  static constexpr unsigned receive_queue = 0, transmit_queue = 1;
  Net(NetConfig config, Surroundings surroundings);

  /// All that it remembers, and the address that its guest knows. Frames that are on the wire are lost.
  struct State {
    MacAddress mac{};
    bool up = false;
    u8 generation = 0;
    Device::State device{};
    bool operator==(const State&) const = default;
  };
  State state() const { return {mac(), up_, generation_, Device::state()}; }
  /// The error is for a person; then it has not changed.
  tl::expected<void, std::string> set_state(const State& state);

  /// How many pairs of queues the driver has said that it uses: frames of each lane come into one of them.
  unsigned pairs() const { return pairs_; }
  /// False: there are not so many, or the driver does not choose.
  [[nodiscard]] bool set_pairs(unsigned pairs);

  /// Tells the driver whether there is a link, where that has changed: then true.
  bool look_at_wire();
  bool up() const { return up_; }
  Wire& wire() const { return *wire_; }
  /// Lanes for whose frames there are buffers.
  Lanes wants_frames() const;

  const NetCounts& counts() const { return counts_; }

 private:
  u64 own_features() const override;
  std::span<const u8> own_config() const override { return layout_; }
  u8 generation() const override { return generation_; }
  void features_taken() override { wire_->take_offloads(offloads()); }
  void was_reset() override { pairs_ = 1; }
  bool can_serve(unsigned number) const override;
  Checked<bool> serve(unsigned number, Queue& queue) override;

  /// The number of the control queue, if it was negotiated (5.1.2).
  std::optional<unsigned> control_queue() const;
  /// The lane whose frame comes into a pair's queue next, in turn. Nullopt: none of its lanes has any.
  std::optional<unsigned> lane_for(unsigned pair) const;
  Checked<bool> receive(unsigned pair, Queue& queue);
  /// What became of a frame that has come.
  enum class Place : u8 { found, missing, none };
  Checked<Place> find_place(Queue& queue, u64 bytes, std::vector<Chain>& chains) const;
  Checked<void> deliver(const FrameHeader& header, std::span<const std::byte> frame, const std::vector<Chain>& chains,
                        std::vector<Queue::Done>& done) const;
  Checked<bool> transmit(unsigned lane, Queue& queue);
  Checked<void> send(unsigned lane, const Chain& chain, u64 offloads);
  Checked<bool> control(Queue& queue);
  /// Those that were negotiated.
  u64 offloads() const { return negotiated_of(all_offloads); }
  MacAddress mac() const;
  void lay_out(const MacAddress& mac);

  const std::shared_ptr<Wire> wire_;
  const unsigned lanes_;
  unsigned pairs_ = 1, last_lane_ = 0;
  bool up_;
  u8 generation_ = 0;
  std::array<u8, 12> layout_{};  ///< struct virtio_net_config
  std::vector<std::byte> frame_;
  NetCounts own_counts_;
  NetCounts& counts_;
};

}  // namespace cloister::platform::virtio
