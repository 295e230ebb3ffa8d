#include "daemon/opener_paths.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace cloister::toolstack {

namespace {

/// A service has other mounts than who asks it (systemd.exec(5)).
constexpr const char* read_only_hint =
    ", for cloisterd at least: if it is a service, ReadWritePaths= of its unit says where it may write";

/// Without waiting for a writer of a named pipe, and without making a terminal ours.
constexpr int at_once = O_NONBLOCK | O_NOCTTY;

tl::unexpected<std::string> paths_failed(std::string why) { return tl::unexpected(std::move(why)); }

}  // namespace

tl::expected<Fd, std::string> open_path_below(const std::string& folder, const std::string& path, int access) {
  const Fd place = open_outside_processes(folder, O_PATH | O_DIRECTORY);
  if (!place) return paths_failed("the storage's folder '" + folder + "': " + std::strerror(errno));
  Fd fd = open_beneath(place.get(), path, static_cast<u64>(access | at_once));
  if (!fd && errno == ELOOP) return paths_failed("it leads through a link, which none does on a storage");
  if (!fd && errno == EXDEV) return paths_failed("it leads out of its storage");
  if (!fd && errno == EROFS) return paths_failed(std::string(std::strerror(EROFS)) + read_only_hint);
  if (!fd) return paths_failed(std::strerror(errno));
  return fd;
}

tl::expected<Fd, std::string> open_path(const std::string& path, int access) {
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) return paths_failed("not an absolute path");
  Fd fd = open_outside_processes(path, static_cast<u64>(access | at_once));
  if (!fd && errno == ENXIO) return paths_failed(not_regular);  // a socket, or a device that is not there
  if (!fd && errno == ELOOP) return paths_failed(too_many_links);
  if (!fd && errno == EROFS) return paths_failed(std::string(std::strerror(EROFS)) + read_only_hint);
  if (!fd) return paths_failed(std::strerror(errno));
  return fd;
}

}  // namespace cloister::toolstack
