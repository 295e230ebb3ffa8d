#include "host/tap_interface.hpp"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace cloister::toolstack {

namespace {

constexpr const char tun_device[] = "/dev/net/tun", any_name[] = "cloister%d";
constexpr int virtio_header_bytes = 12, tap_kind = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

tl::unexpected<std::string> tap_failed(const std::string& what) {
  return tl::unexpected(what + ": " + std::strerror(errno));
}

/// The name fits: it is shorter than IFNAMSIZ.
ifreq request_of(std::string_view name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

/// A bridge has the lowest of its ports' addresses where nobody has given it one, and this one shall not be that; nor
/// is it the guest's own, whose frames the bridge would then keep.
void set_address(ifreq& request, std::array<u8, 6> mac) {
  constexpr u8 high = 0xfe, also_high = 0xfa;
  mac[0] = mac[0] == high ? also_high : high;
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), mac.size());
}

/// A bridge looks for what it is to take, and finds nothing; what is none does not look.
bool is_bridge(int control, ifreq bridge) {
  bridge.ifr_ifindex = 0;
  return ::ioctl(control, SIOCBRADDIF, &bridge) == 0 || errno != EOPNOTSUPP;
}

}  // namespace

tl::expected<std::vector<Fd>, std::string> open_tap(const BridgePort& port) {
  // Of which family it is does not matter to what is asked of it.
  const Fd control(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return tap_failed("socket");
  ifreq bridge = request_of(port.bridge);
  if (::ioctl(control.get(), SIOCGIFMTU, &bridge) != 0)
    return errno == ENODEV ? tl::unexpected("there is no bridge '" + port.bridge + "'")
                           : tap_failed("bridge '" + port.bridge + "'");
  if (!is_bridge(control.get(), bridge))
    return tl::unexpected("'" + port.bridge + "' is an interface, expected a bridge");
  std::vector<Fd> taps;
  ifreq interface = request_of(port.name.empty() ? any_name : port.name);
  while (taps.size() < port.queues) {
    const Fd& tap = taps.emplace_back(::open(tun_device, O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!tap) return tap_failed(tun_device);
    interface.ifr_flags =
        static_cast<short>(tap_kind | (port.queues > 1 ? IFF_MULTI_QUEUE : 0) | (taps.size() == 1 ? IFF_TUN_EXCL : 0));
    if (::ioctl(tap.get(), TUNSETIFF, &interface) == 0) continue;
    if (errno == EBUSY) return tl::unexpected("there is an interface '" + port.name + "' already");
    if (errno == EPERM) return tl::unexpected(std::string("a bridge needs the right to administer the network"));
    return tap_failed("a TAP interface");
  }
  const std::string name(interface.ifr_name, ::strnlen(interface.ifr_name, IFNAMSIZ));
  const int header = virtio_header_bytes, tap = taps.front().get();
  if (::ioctl(tap, TUNSETVNETHDRSZ, &header) != 0 || ::ioctl(tap, TUNSETOFFLOAD, 0) != 0) return tap_failed(name);

  ifreq request = request_of(name);
  if (::ioctl(control.get(), SIOCGIFINDEX, &request) != 0) return tap_failed(name);
  const int index = request.ifr_ifindex;
  set_address(request, port.guest_mac);
  if (::ioctl(control.get(), SIOCSIFHWADDR, &request) != 0) return tap_failed(name + ": its address");
  request = request_of(name);
  request.ifr_mtu = bridge.ifr_mtu;  // else the bridge would take on this one's
  if (::ioctl(control.get(), SIOCSIFMTU, &request) != 0) return tap_failed(name + ": its MTU");
  bridge = request_of(port.bridge);
  bridge.ifr_ifindex = index;
  if (::ioctl(control.get(), SIOCBRADDIF, &bridge) != 0) return tap_failed("bridge '" + port.bridge + "'");
  request = request_of(name);
  if (::ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) return tap_failed(name);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) return tap_failed(name);
  return taps;
}

bool is_tap(int fd) {
  ifreq interface {};
  return ::ioctl(fd, TUNGETIFF, &interface) == 0 && (interface.ifr_flags & tap_kind) == tap_kind;
}

}  // namespace cloister::toolstack
