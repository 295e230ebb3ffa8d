// Sockets of a guest that does as it likes: packets, rings and descriptors from anyone, among what programs of the
// host's do. Whatever comes, what the device keeps is bounded, and it never does without an end.
#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "check.hpp"
#include "platform/virtio/vsock.hpp"
#include "unit/platform/peers_in_memory.hpp"
#include "unit/platform/virtio_ring.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u64 rings_at = 0x4000, rings_bytes = 0xc000, packet_at = 0x1'0000, buffers_at = 0x1'2000;
constexpr u64 memory_bytes = 0x2'0000, buffer_bytes = 0x1000;
constexpr u32 packet_bytes = 44;

/// Bytes of the input, as long as there are some.
class Input {
 public:
  explicit Input(std::span<const u8> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  u8 byte() {
    if (rest_.empty()) return 0;
    const u8 first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }
  u16 pair() { return static_cast<u16>(byte() | byte() << 8); }
  std::span<const u8> some(std::size_t most) {
    const auto taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const u8> rest_;
};

class Guest {
 public:
  Guest() {
    for (u32 port = 1; port < 4; ++port) programs_.push_back(peers_->listen(port));
    begin();
  }

  void act(Input& input) {
    switch (input.byte() % 8) {
      case 0: return packet(input);
      case 1: {  // anything in the rings
        const u64 at = rings_at + input.pair() % rings_bytes;
        std::ranges::copy(input.some(std::min<u64>(16, rings_at + rings_bytes - at)),
                          memory_.bytes().subspan(at).begin());
        break;
      }
      case 2: driver_.notify(input.byte() % 4); break;
      case 3:
        device_.write_memory(structures_bar, input.byte() % common_bytes, input.pair(), 1u << input.byte() % 4);
        break;
      case 4: {
        PeersInMemory::Program& program = *programs_[input.byte() % programs_.size()];
        const auto bytes = input.some(input.byte() % 64);
        program.sends.append(bytes.begin(), bytes.end());
        program.room = input.byte();
        const u8 ends = input.byte();
        program.sends_no_more = ends % 8 == 1;
        program.hears_no_more = ends % 8 == 2;
        program.has_gone = ends % 8 == 3;
        break;
      }
      case 5: peers_->call(input.byte() % 4); break;
      case 6:
        if (device_.set_state(device_.state())) break;
        [[fallthrough]];
      default: begin();
    }
    turn();
  }

 private:
  void begin() {
    driver_.negotiate(feature_version_1 | feature_indirect | feature_event_index);
    for (Ring* ring : {&in_, &out_, &events_}) ring->begin();
    driver_.set(common_status, driver_.status() | status_driver_ok, 1);
    for (u16 i = 0; i < Ring::size; ++i) {
      in_.describe(i, {.address = buffers_at + buffer_bytes * i, .bytes = buffer_bytes, .flags = device_writes});
      in_.offer(i);
    }
    events_.describe(0, {.address = packet_at + 0x800, .bytes = 4, .flags = device_writes});
    events_.offer(0);
    in_.notify();
    events_.notify();
  }
  /// Likely ones: its own number, ports that somebody has, and the rest as it comes.
  void packet(Input& input) {
    for (u64 i = 0; i < packet_bytes; i += 4) memory_.put<u32>(packet_at + i, 0);
    memory_.put<u32>(packet_at, 3);
    memory_.put<u32>(packet_at + 8, 2);
    memory_.put<u32>(packet_at + 16, input.byte() % 4);
    memory_.put<u32>(packet_at + 20, input.byte() % 5);
    const u8 bytes = input.byte() % 64;
    memory_.put<u32>(packet_at + 24, bytes);
    memory_.put<u16>(packet_at + 28, 1);
    memory_.put<u16>(packet_at + 30, input.byte() % 9);
    memory_.put<u32>(packet_at + 32, input.byte() % 4);
    memory_.put<u32>(packet_at + 36, input.pair());
    memory_.put<u32>(packet_at + 40, input.byte() % 2 == 0 ? 0 : input.pair());
    const auto others = input.some(input.byte() % 16);
    std::ranges::copy(others, memory_.bytes().subspan(packet_at + input.byte() % 32).begin());
    out_.describe(0, {.address = packet_at, .bytes = packet_bytes + bytes});
    out_.offer(0);
    out_.notify();
    in_.offer(static_cast<u16>(input.byte() % Ring::size));
    in_.notify();
  }
  void turn() {
    device_.look();
    for (int i = 0; i < 4 && device_.has_work(); ++i) device_.work();
    device_.prepare_to_wait();
    check(device_.counts().open <= Vsock::most_connections);
  }

  TestedMemory memory_{memory_bytes};
  std::shared_ptr<PeersInMemory> peers_ = std::make_shared<PeersInMemory>();
  Vsock device_{{.peers = peers_}, {.dma = memory_, .send = [](const auto&) {}, .broken = {}, .later = [] {}}};
  Driver driver_{device_, memory_};
  Ring in_{driver_, memory_, Vsock::receive_queue}, out_{driver_, memory_, Vsock::transmit_queue},
      events_{driver_, memory_, Vsock::event_queue};
  std::vector<PeersInMemory::Pointer> programs_;
};

}  // namespace
}  // namespace cloister::platform::virtio

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister::platform::virtio;
  Input input({data, size});
  Guest guest;
  for (int acts = 0; acts < 500 && !input.empty(); ++acts) guest.act(input);
  return 0;
}
