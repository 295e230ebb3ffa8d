#include "platform/virtio/console.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 3, .class_code = 0x07'8000};  // communication, of another kind than PCI knows
enum Number : unsigned { receive_queue, transmit_queue, queues };   // 5.3.2
/// As much as is printed, or given, of a chain: a driver's buffer is a page.
constexpr std::size_t most_bytes = 4096;
constexpr unsigned chains_at_once = 8;

}  // namespace

Console::Console(Transmit transmit, Surroundings surroundings)
    : Device(kind, queues, std::move(surroundings)), transmit_(std::move(transmit)) {}

tl::expected<void, std::string> Console::set_state(const State& state) {
  if (!Device::set_state(state.device)) return tl::unexpected(std::string("console: it can be in no such state"));
  line_ = state.line;
  return {};
}

bool Console::can_serve(unsigned number) const { return number != receive_queue || !line_.empty(); }

Checked<bool> Console::serve(unsigned number, Queue& queue) {
  return number == receive_queue ? give(queue) : print(queue);
}

/// 5.3.6: what is there, and no more, is put into the next buffer.
Checked<bool> Console::give(Queue& queue) {
  std::array<std::byte, most_bytes> bytes;
  while (!line_.empty()) {
    const auto chain = TRY(queue.pop());
    if (!chain) return queue.listen();
    if (chain->writable_bytes == 0) return tl::unexpected(Broken{"a buffer for what is typed that has no room"});
    const std::size_t some = std::min({line_.size(), bytes.size(), static_cast<std::size_t>(chain->writable_bytes)});
    const auto end = line_.begin() + static_cast<std::ptrdiff_t>(some);
    std::transform(line_.begin(), end, bytes.begin(), [](u8 byte) { return std::byte{byte}; });
    TRY(chain->write(dma(), 0, std::span(bytes).first(some)));
    line_.erase(line_.begin(), end);
    TRY(queue.push(*chain, static_cast<u32>(some)));
  }
  return true;  // its buffers wait for what will be typed
}

Checked<bool> Console::print(Queue& queue) {
  std::array<std::byte, most_bytes> bytes;
  for (unsigned i = 0; i < chains_at_once; ++i) {
    const auto chain = TRY(queue.pop());
    if (!chain) return queue.listen();
    if (chain->readable_bytes == 0 || chain->readable_bytes > most_printed)
      return tl::unexpected(Broken{"a buffer to print that is empty, or longer than any console's"});
    for (u64 done = 0; done < chain->readable_bytes;) {
      const auto some = std::span(bytes).first(std::min<u64>(bytes.size(), chain->readable_bytes - done));
      TRY(chain->read(dma(), done, some));
      for (const std::byte byte : some) transmit_(static_cast<u8>(byte));
      done += some.size();
    }
    TRY(queue.push(*chain, 0));
  }
  return true;
}

}  // namespace cloister::platform::virtio
