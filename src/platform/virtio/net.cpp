#include "platform/virtio/net.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 1, .class_code = 0x02'0000};  // Ethernet

// 5.1.3.
constexpr u64 feature_mac = u64{1} << 5, feature_merge_buffers = u64{1} << 15, feature_status = u64{1} << 16;

constexpr unsigned queues = 2, frames_at_once = 32;
constexpr std::size_t status_at = 6;
constexpr u16 status_link_up = 1;

struct Header {  // 5.1.6: of a device of version 1 always with the number of buffers
  FrameHeader frame{};
  u16 buffers = 0;
};
static_assert(sizeof(Header) == 12);

}  // namespace

Net::Net(NetConfig config, Surroundings surroundings)
    : Device(kind, queues, std::move(surroundings)),
      wire_(std::move(config.wire)),
      up_(wire_->up()),
      counts_(config.counts == nullptr ? own_counts_ : *config.counts) {
  lay_out(config.mac);
}

void Net::lay_out(const MacAddress& mac) {
  std::ranges::copy(mac, layout_.begin());
  layout_[status_at] = up_ ? status_link_up : 0;
}

MacAddress Net::mac() const {
  MacAddress mac;
  std::copy_n(layout_.begin(), mac.size(), mac.begin());
  return mac;
}

tl::expected<void, std::string> Net::set_state(const State& state) {
  if (!Device::set_state(state.device))
    return tl::unexpected(std::string("network interface: it can be in no such state"));
  up_ = state.up;
  generation_ = state.generation;
  lay_out(state.mac);
  return {};
}

bool Net::look_at_wire() {
  if (wire_->up() == up_) return false;
  up_ = !up_;
  ++generation_;
  lay_out(mac());
  config_changed();
  return true;
}

u64 Net::own_features() const {
  return feature_mac | feature_merge_buffers | feature_status | (wire_->offloads() & all_offloads);
}

bool Net::can_serve(unsigned number) const {
  return number == receive_queue ? !wire_->frame().empty() : wire_->has_room();
}

Checked<bool> Net::serve(unsigned number, Queue& queue) {
  return number == receive_queue ? receive(queue) : transmit(queue);
}

Checked<bool> Net::receive(Queue& queue) {
  for (unsigned i = 0; i < frames_at_once; ++i) {
    const auto frame = wire_->frame();
    if (frame.empty()) return true;  // more buffers than frames
    FrameHeader header = wire_->header();
    std::vector<Chain> chains;
    Place place = Place::none;
    if (settle_received(header, offloads())) place = TRY(find_place(queue, sizeof(Header) + frame.size(), chains));
    if (place == Place::missing) return false;
    if (place == Place::none) {
      ++counts_.received_drops;
      wire_->pop();
      continue;
    }
    std::vector<Queue::Done> done;
    Checked<void> copied;
    if (!apart([&] { copied = deliver(header, frame, chains, done); })) return false;
    TRY(copied);
    ++counts_.received_frames;
    counts_.received_bytes += frame.size();
    wire_->pop();
    TRY(queue.push(done));
  }
  return true;
}

/// As many buffers as it takes: one, unless the driver merges them (5.1.6.3.1, 5.1.6.4). What cannot be had now stays
/// where it is, and the driver is asked to say when there is more than that.
Checked<Net::Place> Net::find_place(Queue& queue, u64 bytes, std::vector<Chain>& chains) const {
  const u16 first = queue.state.next_available;
  const std::size_t most = negotiated(feature_merge_buffers) ? queue.state.size : 1;
  Place place = Place::found;
  for (u64 room = 0; room < bytes;) {
    if (chains.size() == most) {
      place = Place::none;
      break;
    }
    auto chain = TRY(queue.pop());
    if (!chain) {
      if (TRY(queue.listen())) continue;
      place = Place::missing;
      break;
    }
    if (chains.empty() && chain->writable_bytes < sizeof(Header))
      return tl::unexpected(Broken{"a buffer that has no room for a frame's header"});
    if (chain->writable_bytes == 0) return tl::unexpected(Broken{"a buffer that nothing can be written to"});
    room += chain->writable_bytes;
    chains.push_back(std::move(*chain));
  }
  if (place != Place::found) queue.state.next_available = first;
  return place;
}

Checked<void> Net::deliver(const FrameHeader& left, std::span<const std::byte> frame, const std::vector<Chain>& chains,
                           std::vector<Queue::Done>& done) const {
  const Header header{.frame = left, .buffers = static_cast<u16>(chains.size())};
  TRY(chains.front().write(dma(), 0, std::as_bytes(std::span(&header, 1))));
  u64 at = sizeof header;
  for (const Chain& chain : chains) {
    const auto piece = frame.first(std::min<u64>(frame.size(), chain.writable_bytes - at));
    TRY(chain.write(dma(), at, piece));
    done.push_back({chain.head, static_cast<u32>(at + piece.size())});
    frame = frame.subspan(piece.size());
    at = 0;
  }
  return {};
}

// What waits is flushed before the driver is asked to say when there is more: it may do so meanwhile.
Checked<bool> Net::transmit(Queue& queue) {
  const auto flush = [this] { wire_->flush(); };
  const u64 negotiated_offloads = offloads();
  for (unsigned i = 0; i < frames_at_once && wire_->has_room(); ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return apart(flush) ? queue.listen() : false;
    Checked<void> sent;
    if (!apart([&] { sent = send(*chain, negotiated_offloads); })) return false;
    TRY(sent);
    TRY(queue.push(*chain, 0));
  }
  return apart(flush);
}

/// What leaves to the device what it did not take is no frame.
Checked<void> Net::send(const Chain& chain, u64 offloads) {
  Header header;
  TRY(chain.read(dma(), 0, std::as_writable_bytes(std::span(&header, 1))));
  const u64 bytes = chain.readable_bytes - sizeof header;
  const bool possible = bytes >= least_frame && bytes <= most_frame && settle_sent(header.frame, offloads);
  if (possible) {
    frame_.resize(bytes);
    TRY(chain.read(dma(), sizeof header, frame_));
  }
  if (!possible || !wire_->send(header.frame, frame_)) {
    ++counts_.sent_drops;
    return {};
  }
  ++counts_.sent_frames;
  counts_.sent_bytes += bytes;
  return {};
}

}  // namespace cloister::platform::virtio
