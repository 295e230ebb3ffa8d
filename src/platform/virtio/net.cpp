#include "platform/virtio/net.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 1, .class_code = 0x02'0000};  // Ethernet

// 5.1.3.
constexpr u64 feature_mac = u64{1} << 5, feature_merge_buffers = u64{1} << 15, feature_status = u64{1} << 16,
              feature_control = u64{1} << 17, feature_pairs = u64{1} << 22;

constexpr unsigned frames_at_once = 32, commands_at_once = 32;
constexpr std::size_t status_at = 6, most_pairs_at = 8;
constexpr u16 status_link_up = 1;

/// A pair of queues for each lane, and one to choose among them where there is a choice.
unsigned queues_for(unsigned lanes) { return 2 * lanes + (lanes > 1 ? 1 : 0); }

// 5.1.6.5.
struct Command {
  u8 of = 0, command = 0;
};
constexpr u8 of_pairs = 4, command_use_pairs = 0, answer_ok = 0, answer_error = 1;

struct Header {  // 5.1.6: of a device of version 1 always with the number of buffers
  FrameHeader frame{};
  u16 buffers = 0;
};
static_assert(sizeof(Header) == 12);

}  // namespace

Net::Net(NetConfig config, Surroundings surroundings)
    : Device(kind, queues_for(config.wire->lanes()), std::move(surroundings)),
      wire_(std::move(config.wire)),
      lanes_(wire_->lanes()),
      up_(wire_->up()),
      counts_(config.counts == nullptr ? own_counts_ : *config.counts) {
  lay_out(config.mac);
}

void Net::lay_out(const MacAddress& mac) {
  std::ranges::copy(mac, layout_.begin());
  layout_[status_at] = up_ ? status_link_up : 0;
  if (lanes_ > 1) layout_[most_pairs_at] = static_cast<u8>(lanes_);
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
  return feature_mac | feature_merge_buffers | feature_status | (lanes_ > 1 ? feature_control | feature_pairs : 0) |
         (wire_->offloads() & all_offloads);
}

bool Net::set_pairs(unsigned pairs) {
  if (pairs == 0 || pairs > (negotiated(feature_pairs) ? lanes_ : 1)) return false;
  pairs_ = pairs;
  return true;
}

std::optional<unsigned> Net::control_queue() const {
  if (!negotiated(feature_control)) return std::nullopt;
  return negotiated(feature_pairs) ? 2 * lanes_ : 2;
}

std::optional<unsigned> Net::lane_for(unsigned pair) const {
  for (unsigned i = 1; i <= lanes_; ++i) {
    const unsigned lane = (last_lane_ + i) % lanes_;
    if (lane % pairs_ == pair && !wire_->frame(lane).empty()) return lane;
  }
  return std::nullopt;
}

Lanes Net::wants_frames() const {
  Lanes wanted = 0;
  for (unsigned lane = 0; lane < lanes_; ++lane) {
    if (waits(2 * (lane % pairs_) + receive_queue)) wanted |= Lanes{1} << lane;
  }
  return wanted;
}

bool Net::can_serve(unsigned number) const {
  if (number == control_queue()) return true;
  return number % 2 == receive_queue ? lane_for(number / 2).has_value() : wire_->has_room();
}

Checked<bool> Net::serve(unsigned number, Queue& queue) {
  if (number == control_queue()) return control(queue);
  return number % 2 == receive_queue ? receive(number / 2, queue) : transmit(number / 2, queue);
}

// Frames of one lane keep their order, in whichever queue: how many pairs there are changes between two calls alone.
Checked<bool> Net::receive(unsigned pair, Queue& queue) {
  for (unsigned i = 0; i < frames_at_once; ++i) {
    const auto lane = lane_for(pair);
    if (!lane) return true;  // more buffers than frames
    last_lane_ = *lane;
    const auto frame = wire_->frame(*lane);
    FrameHeader header = wire_->header(*lane);
    std::vector<Chain> chains;
    Place place = Place::none;
    if (settle_received(header, offloads())) place = TRY(find_place(queue, sizeof(Header) + frame.size(), chains));
    if (place == Place::missing) return false;
    if (place == Place::none) {
      ++counts_.received_drops;
      wire_->pop(*lane);
      continue;
    }
    std::vector<Queue::Done> done;
    Checked<void> copied;
    if (!apart([&] { copied = deliver(header, frame, chains, done); })) return false;
    TRY(copied);
    ++counts_.received_frames;
    counts_.received_bytes += frame.size();
    wire_->pop(*lane);
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
Checked<bool> Net::transmit(unsigned lane, Queue& queue) {
  const auto flush = [this] { wire_->flush(); };
  const u64 negotiated_offloads = offloads();
  for (unsigned i = 0; i < frames_at_once && wire_->has_room(); ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return apart(flush) ? queue.listen() : false;
    Checked<void> sent;
    if (!apart([&] { sent = send(lane, *chain, negotiated_offloads); })) return false;
    TRY(sent);
    TRY(queue.push(*chain, 0));
  }
  return apart(flush);
}

/// What leaves to the device what it did not take is no frame.
Checked<void> Net::send(unsigned lane, const Chain& chain, u64 offloads) {
  Header header;
  TRY(chain.read(dma(), 0, std::as_writable_bytes(std::span(&header, 1))));
  const u64 bytes = chain.readable_bytes - sizeof header;
  const bool possible = bytes >= least_frame && bytes <= most_frame && settle_sent(header.frame, offloads);
  if (possible) {
    frame_.resize(bytes);
    TRY(chain.read(dma(), sizeof header, frame_));
  }
  if (!possible || !wire_->send(lane, header.frame, frame_)) {
    ++counts_.sent_drops;
    return {};
  }
  ++counts_.sent_frames;
  counts_.sent_bytes += bytes;
  return {};
}

/// The command and its number of pairs in what is read, and an answer of a byte in what is written (5.1.6.5). Commands
/// of other kinds belong to features that it does not have.
Checked<bool> Net::control(Queue& queue) {
  for (unsigned i = 0; i < commands_at_once; ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return queue.listen();
    Command command;
    u16 pairs = 0;
    if (chain->readable_bytes < sizeof command || chain->writable_bytes < 1)
      return tl::unexpected(Broken{"a command that has no room for itself and its answer"});
    TRY(chain->read(dma(), 0, std::as_writable_bytes(std::span(&command, 1))));
    const bool known = command.of == of_pairs && command.command == command_use_pairs && negotiated(feature_pairs) &&
                       chain->readable_bytes == sizeof command + sizeof pairs;
    if (known) TRY(chain->read(dma(), sizeof command, std::as_writable_bytes(std::span(&pairs, 1))));
    const u8 answer = known && set_pairs(pairs) ? answer_ok : answer_error;
    TRY(chain->write(dma(), 0, std::as_bytes(std::span(&answer, 1))));
    TRY(queue.push(*chain, 1));
  }
  return true;
}

}  // namespace cloister::platform::virtio
