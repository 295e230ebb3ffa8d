#include "platform/virtio/rng.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 4, .class_code = 0xff'0000};  // of no class of PCI's
constexpr unsigned buffers_at_once = 8;

/// The number at this place of SplitMix64's sequence: whoever knows the place goes on from there.
u64 number_at(u64 place) {
  u64 z = (place + 1) * 0x9e37'79b9'7f4a'7c15;
  z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
  return z ^ z >> 31;
}

}  // namespace

Rng::Rng(Source source, Surroundings surroundings)
    : Device(kind, 1, std::move(surroundings)), source_(std::move(source)) {}

tl::expected<void, std::string> Rng::set_state(const State& state) {
  if (!Device::set_state(state.device))
    return tl::unexpected(std::string("source of random bytes: it can be in no such state"));
  drawn_ = state.drawn;
  return {};
}

bool Rng::fill(std::span<std::byte> to) {
  if (source_) return source_(to);
  while (!to.empty()) {
    const u64 number = number_at(drawn_++);
    const auto piece = to.first(std::min(to.size(), sizeof number));
    std::memcpy(piece.data(), &number, piece.size());
    to = to.subspan(piece.size());
  }
  return true;
}

Checked<bool> Rng::serve(unsigned, Queue& queue) {
  std::array<std::byte, most_bytes> all;
  for (unsigned i = 0; i < buffers_at_once; ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return queue.listen();
    if (chain->writable_bytes == 0) return tl::unexpected(Broken{"a buffer for random bytes that has no room"});
    const auto bytes = std::span(all).first(std::min<u64>(all.size(), chain->writable_bytes));
    bool filled = false;
    Checked<void> written;
    const auto answer = [&] {
      filled = fill(bytes);
      if (filled) written = chain->write(dma(), 0, bytes);
    };
    if (!apart(answer)) return false;
    TRY(written);
    TRY(queue.push(*chain, filled ? static_cast<u32>(bytes.size()) : 0));
  }
  return true;
}

}  // namespace cloister::platform::virtio
