// rename(2) is atomic; fsync(2) of the folder makes it last.
#include "toolstack/daemon/durable.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "toolstack/fd.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> failed(const char* what, const std::filesystem::path& path) {
  return tl::unexpected(fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(errno)));
}

tl::expected<void, std::string> sync_folder(const std::filesystem::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return failed("sync", folder);
  return {};
}

}  // namespace

tl::expected<void, std::string> write_durably(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path fresh = path.string().append(unfinished_suffix);
  {
    const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd || !write_all(fd.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}) || ::fsync(fd.get()) != 0)
      return failed("write", fresh);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return failed("rename to", path);
  return sync_folder(path.parent_path());
}

tl::expected<void, std::string> remove_durably(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove", path);
  return sync_folder(path.parent_path());
}

}  // namespace cloister::toolstack
