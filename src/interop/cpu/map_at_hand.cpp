// Which CPU map a verb judges by: libvirt's own, or what our table has of it where libvirt is not installed.
#include <spdlog/spdlog.h>

#include "interop/cpu/pool.hpp"
#include "interop/cpu_map_xml.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

tl::expected<MapAtHand, std::string> map_at_hand(const std::string& path) {
  const std::string from = path.empty() ? libvirt_cpu_map_folder : path;
  auto map = load_cpu_map(from);
  if (!map && !path.empty()) return tl::unexpected(map.error());
  if (!map) return MapAtHand{policy::map_of_features(), map.error()};
  warn_of_unread(*map, from);
  return MapAtHand{std::move(*map), {}};
}

void warn_of_unread(const policy::CpuMap& map, const std::string& path) {
  for (const std::string& what : map.unread)
    spdlog::warn("{}", printable(path + "/" + what + ": not understood, and passed over"));
}

}  // namespace cloister::toolstack::cpu
