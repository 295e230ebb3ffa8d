// Sockets between a guest and its host, without a network (virtio 1.2, 5.10): streams, by ports, each with credit in
// both directions. Three queues: of packets that come, that go, and of events. What a guest does with them is its own
// affair, and ends its connections at the most; nothing of it is kept but the bytes that a program of the host's has
// not taken yet, of a number of connections.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "platform/virtio/counts.hpp"
#include "platform/virtio/device.hpp"
#include "platform/virtio/peers.hpp"

namespace cloister::platform::virtio {

struct VsockConfig {
  std::shared_ptr<Peers> peers;   ///< null: there is no such device
  u64 cid = 3;                    ///< the guest's own
  VsockCounts* counts = nullptr;  ///< where it counts; null: nobody looks
};

struct VsockHeader;  // vsock_header.hpp

class Vsock final : public Device {
 public:
  static constexpr unsigned receive_queue = 0, transmit_queue = 1, event_queue = 2;
  static constexpr u64 host_cid = 2, least_cid = 3, most_cid = 0xffff'fffe;
  static constexpr std::size_t most_connections = 128;
  /// Of a connection, what the guest has sent and nobody taken. As much is read of the host's at once.
  static constexpr u32 room_bytes = 64 << 10;
  /// Of the host's programs that call.
  static constexpr u32 first_port = u32{1} << 30;
  Vsock(VsockConfig config, Surroundings surroundings);

  /// All that it remembers: its connections end, and the guest that goes on is told so.
  struct State {
    u64 cid = 0;
    u32 next_port = 0;
    Device::State device{};
    bool operator==(const State&) const = default;
  };
  State state() const { return {cid_, next_port_, Device::state()}; }
  /// The error is for a person; then it has not changed.
  tl::expected<void, std::string> set_state(const State& state);

  /// Sees what has become of its peers, before work(); and says what the next wait for them is for.
  void look();
  void prepare_to_wait();
  Peers& peers() const { return *peers_; }
  const VsockCounts& counts() const { return counts_; }

 private:
  struct Ports {
    u32 guest = 0, host = 0;
    auto operator<=>(const Ports&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 sees a 0
  };
  struct Connection {
    enum class Stage : u8 {
      asking,   ///< the guest has called, and somebody is looked for
      calling,  ///< the host has, and the guest has not answered
      open,
    };
    Stage stage = Stage::open;
    u32 asked = 0;               ///< Peers::ask()
    std::unique_ptr<Peer> peer;  ///< null while it is asked for, and when it has gone
    std::vector<std::byte> waiting{};
    bool deaf = false;                      ///< the peer takes no more: what comes is thrown away
    u32 forwarded = 0, told = 0;            ///< bytes that it has taken, and the number that the guest knows
    u32 sent = 0, taken = 0, its_room = 0;  ///< the same of the guest, by its own word
    u8 guest_ends = 0, host_ends = 0;       ///< bits of SHUTDOWN that were said
    u8 to_end = 0;                          ///< that are to be
    bool peer_silent = false;               ///< it sends no more
    bool told_end = false;                  ///< that the guest sends no more
    bool request_due = false, response_due = false, credit_due = false;
    u32 credit() const;
    bool reads() const;
    bool has_packet() const;
  };
  using Connections = std::map<Ports, Connection>;

  u64 own_features() const override { return 0; }
  std::span<const u8> own_config() const override { return layout_; }
  bool can_serve(unsigned number) const override;
  Checked<bool> serve(unsigned number, Queue& queue) override;
  void was_reset() override { ends_all_ = true; }

  Checked<bool> receive(Queue& queue);
  Checked<u32> put_packet(const Chain& chain);
  Checked<u32> put(const Chain& chain, VsockHeader header, std::span<const std::byte> data);
  std::optional<VsockHeader> packet_of(const Ports& ports, Connection& one, std::size_t room,
                                       std::span<const std::byte>& data);
  void read_peer(Connection& one, std::size_t room, std::span<const std::byte>& data);
  bool has_packets() const;

  Checked<bool> transmit(Queue& queue);
  Checked<void> take(const Chain& chain);
  Checked<void> take(const Chain& chain, const VsockHeader& header, Connections::iterator found);
  void begin(const Ports& ports, const VsockHeader& header);
  void refuse(const VsockHeader& header);
  /// Ends it, and tells the guest.
  void reset(Connections::iterator one);
  void forget(Connections::iterator one);

  Checked<bool> tell_of_reset(Queue& queue);
  void take(Peers::Answer answer);
  void take(Peers::Call call);
  /// Hands on what waits, and sees whether it has ended.
  void settle(Connections::iterator one);
  Connections::iterator add(const Ports& ports, Connection one);
  void end_all();
  void lay_out(u64 cid);

  const std::shared_ptr<Peers> peers_;
  VsockCounts own_counts_;
  VsockCounts& counts_;
  u64 cid_ = 0;
  u32 next_port_ = first_port;
  std::array<u8, 8> layout_{};  ///< struct virtio_vsock_config
  Connections connections_;
  Ports last_{};  ///< whose packet was the last
  struct Reset {
    u64 cid = 0;
    Ports ports{};
    u16 type = 0;
  };
  std::deque<Reset> resets_;  ///< that the guest has not been told of
  bool ends_all_ = false;
  bool reset_due_ = false;  ///< it goes on without its connections, and has not been told so
  std::vector<std::byte> data_;
};

}  // namespace cloister::platform::virtio
