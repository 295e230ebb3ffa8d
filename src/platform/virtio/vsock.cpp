#include "platform/virtio/vsock.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "arch/try.hpp"
#include "platform/virtio/vsock_header.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 19, .class_code = 0x07'8000};  // communication, of another kind than PCI knows

constexpr unsigned queues = 3, packets_at_once = 32;
/// What the guest sends is not looked at while so many resets wait for it to take them.
constexpr std::size_t most_resets = 128;
static_assert(vsock_host == Vsock::host_cid);
constexpr u32 event_transport_reset = 0;  // 5.10.6.7

}  // namespace

Vsock::Vsock(VsockConfig config, Surroundings surroundings)
    : Device(kind, queues, std::move(surroundings)),
      peers_(std::move(config.peers)),
      counts_(config.counts == nullptr ? own_counts_ : *config.counts),
      data_(room_bytes) {
  counts_.open = 0;
  lay_out(config.cid);
}

void Vsock::lay_out(u64 cid) {
  cid_ = cid;
  std::memcpy(layout_.data(), &cid_, sizeof cid_);
}

tl::expected<void, std::string> Vsock::set_state(const State& state) {
  const bool possible = state.cid >= least_cid && state.cid <= most_cid && state.next_port >= first_port;
  if (!possible || !Device::set_state(state.device))
    return tl::unexpected(std::string("vsock: it can be in no such state"));
  lay_out(state.cid);
  next_port_ = state.next_port;
  end_all();
  reset_due_ = (state.device.status & status_driver_ok) != 0;
  return {};
}

// ------------------------------------------------------------------------------------------------ peers

void Vsock::end_all() {
  connections_.clear();
  resets_.clear();
  counts_.open = 0;
}

Vsock::Connections::iterator Vsock::add(const Ports& ports, Connection one) {
  const auto [at, is_new] = connections_.emplace(ports, std::move(one));
  counts_.open = connections_.size();
  return at;
}

void Vsock::forget(Connections::iterator one) {
  connections_.erase(one);
  counts_.open = connections_.size();
}

void Vsock::reset(Connections::iterator one) {
  resets_.push_back({.cid = host_cid, .ports = one->first, .type = vsock_stream});
  forget(one);
}

void Vsock::look() {
  if (std::exchange(ends_all_, false) || !alive()) end_all();
  if (!alive()) reset_due_ = false;
  while (auto answer = peers_->next_answer()) take(std::move(*answer));
  while (auto call = peers_->next_call()) take(std::move(*call));
  for (auto at = connections_.begin(); at != connections_.end();) settle(at++);
}

void Vsock::take(Peers::Answer answer) {
  const auto at = std::ranges::find_if(connections_, [&](const auto& one) {
    return one.second.stage == Connection::Stage::asking && one.second.asked == answer.number;
  });
  if (at == connections_.end()) return;
  if (answer.peer == nullptr) {
    ++counts_.refused;
    return reset(at);
  }
  at->second.stage = Connection::Stage::open;
  at->second.peer = std::move(answer.peer);
  at->second.response_due = true;
  ++counts_.connections;
}

void Vsock::take(Peers::Call call) {
  if (!alive() || reset_due_ || connections_.size() >= most_connections) {
    ++counts_.refused;
    return;
  }
  while (connections_.contains({call.port, next_port_})) next_port_ = std::max(next_port_ + 1, first_port);
  Connection one{.stage = Connection::Stage::calling, .peer = std::move(call.from)};
  one.request_due = true;
  add({call.port, next_port_}, std::move(one));
  next_port_ = std::max(next_port_ + 1, first_port);
}

void Vsock::settle(Connections::iterator at) {
  Connection& one = at->second;
  if (one.peer == nullptr) return;
  if (one.stage == Connection::Stage::calling) {
    if (!one.peer->gone()) return;
    // The guest has not heard of one whose request is due.
    if (!one.request_due) return reset(at);
    ++counts_.refused;
    return forget(at);
  }
  while (!one.waiting.empty() && !one.deaf) {
    const auto taken = one.peer->send(one.waiting);
    if (!taken) one.deaf = true;
    if (!taken || *taken == 0) break;
    one.forwarded += static_cast<u32>(*taken);
    one.waiting.erase(one.waiting.begin(), one.waiting.begin() + static_cast<std::ptrdiff_t>(*taken));
  }
  if (one.deaf) {
    one.forwarded += static_cast<u32>(one.waiting.size());
    one.waiting.clear();
  }
  if (one.forwarded - one.told >= room_bytes / 4) one.credit_due = true;
  if (one.waiting.empty()) {
    if ((one.guest_ends & vsock_sends_no_more) != 0 && !std::exchange(one.told_end, true)) one.peer->end_sending();
    if (one.guest_ends == vsock_ends_both) return reset(at);
  }
  const bool nothing_to_read = one.peer_silent || (one.guest_ends & vsock_receives_no_more) != 0;
  if (nothing_to_read && one.peer->gone()) one.to_end = vsock_ends_both & ~one.host_ends;
}

void Vsock::prepare_to_wait() {
  if (!alive()) end_all();
  for (auto& [ports, one] : connections_) {
    if (one.peer == nullptr) continue;
    const bool calling = one.stage == Connection::Stage::calling;
    const bool reads = waits(receive_queue) && one.reads() && !one.peer->ready();
    const bool ends = calling || one.peer_silent || (one.guest_ends & vsock_receives_no_more) != 0;
    one.peer->want({.bytes = reads,
                    .room = !one.waiting.empty(),
                    .end = ends && one.to_end == 0 && one.host_ends != vsock_ends_both});
  }
}

// ------------------------------------------------------------------------------------------------ queues

bool Vsock::can_serve(unsigned number) const {
  switch (number) {
    case receive_queue: return !reset_due_ && has_packets();
    case transmit_queue: return resets_.size() < most_resets;
    default: return reset_due_;
  }
}

Checked<bool> Vsock::serve(unsigned number, Queue& queue) {
  switch (number) {
    case receive_queue: return receive(queue);
    case transmit_queue: return transmit(queue);
    default: return tell_of_reset(queue);
  }
}

Checked<bool> Vsock::tell_of_reset(Queue& queue) {
  const auto chain = TRY(queue.pop());
  if (!chain) return queue.listen();
  TRY(chain->write(dma(), 0, std::as_bytes(std::span(&event_transport_reset, 1))));
  TRY(queue.push(*chain, sizeof event_transport_reset));
  reset_due_ = false;
  return true;  // more buffers than events
}

bool Vsock::has_packets() const {
  return !resets_.empty() || std::ranges::any_of(connections_, [](const auto& one) { return one.second.has_packet(); });
}

Checked<bool> Vsock::receive(Queue& queue) {
  for (unsigned i = 0; i < packets_at_once && has_packets(); ++i) {
    const u16 first = queue.state.next_available;
    const auto chain = TRY(queue.pop());
    if (!chain) {
      if (!TRY(queue.listen())) return false;
      continue;
    }
    if (chain->writable_bytes <= sizeof(VsockHeader))
      return tl::unexpected(Broken{"a buffer that has no room for a packet"});
    const u32 bytes = TRY(put_packet(*chain));
    if (bytes == 0) {  // a peer had nothing after all
      queue.state.next_available = first;
      continue;
    }
    TRY(queue.push(*chain, bytes));
  }
  return true;  // more buffers than packets
}

Checked<u32> Vsock::put_packet(const Chain& chain) {
  if (!resets_.empty()) {
    const Reset one = resets_.front();
    resets_.pop_front();
    VsockHeader header = VsockHeader::to(one.ports.guest, one.ports.host, vsock_op_reset);
    header.from_cid = static_cast<u32>(one.cid);
    header.from_cid_high = static_cast<u32>(one.cid >> 32);
    header.type = one.type;
    return put(chain, header, {});
  }
  // Each in its turn.
  auto at = connections_.upper_bound(last_);
  for (std::size_t i = 0; i < connections_.size(); ++i, ++at) {
    if (at == connections_.end()) at = connections_.begin();
    Connection& one = at->second;
    if (!one.has_packet()) continue;
    last_ = at->first;
    std::span<const std::byte> data;
    const auto header = packet_of(last_, one, chain.writable_bytes - sizeof(VsockHeader), data);
    return header ? put(chain, *header, data) : Checked<u32>(0u);
  }
  return 0u;
}

Checked<u32> Vsock::put(const Chain& chain, VsockHeader header, std::span<const std::byte> data) {
  header.to_cid = static_cast<u32>(cid_);
  header.bytes = static_cast<u32>(data.size());
  TRY(chain.write(dma(), 0, std::as_bytes(std::span(&header, 1))));
  if (!data.empty()) TRY(chain.write(dma(), sizeof header, data));
  counts_.received_bytes += data.size();
  return static_cast<u32>(sizeof header + data.size());
}

std::optional<VsockHeader> Vsock::packet_of(const Ports& ports, Connection& one, std::size_t room,
                                            std::span<const std::byte>& data) {
  VsockHeader header = VsockHeader::to(ports.guest, ports.host, 0);
  if (std::exchange(one.request_due, false)) {
    header.op = vsock_op_request;
  } else if (std::exchange(one.response_due, false)) {
    header.op = vsock_op_response;
  } else if (std::exchange(one.credit_due, false)) {
    header.op = vsock_op_credit_update;
  } else {
    if (one.to_end == 0) read_peer(one, room, data);
    if (!data.empty()) {
      header.op = vsock_op_data;
      one.sent += static_cast<u32>(data.size());
    } else if (one.to_end != 0) {
      header.op = vsock_op_shutdown;
      one.host_ends |= std::exchange(one.to_end, u8{0});
      header.flags = one.host_ends;
      if (one.host_ends == vsock_ends_both) one.peer.reset();
    } else {
      return std::nullopt;
    }
  }
  one.told = one.forwarded;
  header.room = room_bytes;
  header.forwarded = one.forwarded;
  return header;
}

/// What it has sent, as much as the guest takes; or that it sends no more.
void Vsock::read_peer(Connection& one, std::size_t room, std::span<const std::byte>& data) {
  const std::size_t most = std::min({room, data_.size(), std::size_t{one.credit()}});
  if (!one.reads() || most == 0) return;
  const auto bytes = one.peer->receive(std::span(data_).first(most));
  if (bytes) {
    data = std::span(data_).first(*bytes);
    return;
  }
  one.peer_silent = true;
  one.to_end = one.peer->gone() ? vsock_ends_both : vsock_sends_no_more;
}

// ------------------------------------------------------------------------------------------------ connections

/// How much more the guest takes.
u32 Vsock::Connection::credit() const {
  const u32 on_the_way = sent - taken;
  return its_room > on_the_way ? its_room - on_the_way : 0;
}

bool Vsock::Connection::reads() const {
  return stage == Stage::open && peer != nullptr && !peer_silent && (guest_ends & vsock_receives_no_more) == 0 &&
         credit() != 0;
}

bool Vsock::Connection::has_packet() const {
  return request_due || response_due || credit_due || to_end != 0 || (reads() && peer->ready());
}

Checked<bool> Vsock::transmit(Queue& queue) {
  for (unsigned i = 0; i < packets_at_once && can_serve(transmit_queue); ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return queue.listen();
    TRY(take(*chain));
    TRY(queue.push(*chain, 0));
  }
  return true;
}

/// Nobody knows of it: whatever the guest thinks, it has ended.
void Vsock::refuse(const VsockHeader& header) {
  if (header.op != vsock_op_reset)
    resets_.push_back({.cid = header.destination(), .ports = {header.from_port, header.to_port}, .type = header.type});
}

Checked<void> Vsock::take(const Chain& chain) {
  VsockHeader header;
  TRY(chain.read(dma(), 0, std::as_writable_bytes(std::span(&header, 1))));
  if (header.source() != cid_) return {};  // in nobody's name
  if (header.destination() != host_cid || header.type != vsock_stream) {
    refuse(header);
    return {};
  }
  const auto found = connections_.find({header.from_port, header.to_port});
  if (found != connections_.end()) return take(chain, header, found);
  if (header.op == vsock_op_request) {
    begin({header.from_port, header.to_port}, header);
  } else {
    refuse(header);
  }
  return {};
}

void Vsock::begin(const Ports& ports, const VsockHeader& header) {
  const auto asked = connections_.size() < most_connections ? peers_->ask(ports.host) : std::nullopt;
  if (!asked) {
    ++counts_.refused;
    return refuse(header);
  }
  Connection one{.stage = Connection::Stage::asking, .asked = *asked, .peer = nullptr};
  one.its_room = header.room;
  add(ports, std::move(one));
}

/// What belongs to a connection ends it if it is wrong.
Checked<void> Vsock::take(const Chain& chain, const VsockHeader& header, Connections::iterator found) {
  using Stage = Connection::Stage;
  Connection& one = found->second;
  const auto wrong = [&]() -> Checked<void> {
    reset(found);
    return {};
  };
  if (header.op == vsock_op_reset) {
    if (one.stage == Stage::calling) ++counts_.refused;
    forget(found);
    return {};
  }
  // Packets of several of its processors may pass each other, but it cannot have taken what was not sent.
  constexpr u32 half = u32{1} << 31;
  if (one.sent - header.forwarded >= half) return wrong();
  if (header.forwarded - one.taken < half) one.taken = header.forwarded;
  one.its_room = header.room;
  const bool open = one.stage == Stage::open;
  switch (header.op) {
    case vsock_op_response:
      if (one.stage != Stage::calling || one.request_due || !one.peer->answered(found->first.host)) return wrong();
      one.stage = Stage::open;
      ++counts_.connections;
      break;
    case vsock_op_data: {
      const bool fits =
          header.bytes <= chain.readable_bytes - sizeof header && header.bytes <= room_bytes - one.waiting.size();
      if (!open || !fits || (one.guest_ends & vsock_sends_no_more) != 0) return wrong();
      if (one.peer == nullptr || header.bytes == 0) break;
      const std::size_t before = one.waiting.size();
      one.waiting.resize(before + header.bytes);
      TRY(chain.read(dma(), sizeof header, std::span(one.waiting).subspan(before)));
      counts_.sent_bytes += header.bytes;
      settle(found);
      break;
    }
    case vsock_op_credit_update: break;
    case vsock_op_credit_request: one.credit_due = open; break;
    case vsock_op_shutdown:
      one.guest_ends |= header.flags & vsock_ends_both;
      if (!open || one.peer == nullptr) return wrong();
      settle(found);
      break;
    default: return wrong();
  }
  return {};
}

}  // namespace cloister::platform::virtio
