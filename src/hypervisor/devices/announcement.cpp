#include "hypervisor/devices/announcement.hpp"

#include <algorithm>

namespace cloister::hypervisor {

Announcement announcement_of(const platform::virtio::MacAddress& mac) {
  constexpr std::size_t source = 6, type = 12, sender = 22, target = 32;
  // Ethertype, then RARP's: Ethernet, IPv4, the lengths of their addresses, a request.
  constexpr std::array<u8, 10> head{0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
  Announcement frame{};
  const auto put = [&frame](std::size_t at, const auto& bytes) {
    std::ranges::transform(bytes, frame.begin() + static_cast<std::ptrdiff_t>(at),
                           [](u8 byte) { return std::byte{byte}; });
  };
  std::fill_n(frame.begin(), source, std::byte{0xff});
  put(source, mac);
  put(type, head);
  put(sender, mac);
  put(target, mac);
  return frame;
}

}  // namespace cloister::hypervisor
