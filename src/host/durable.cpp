// rename(2) is atomic; fsync(2) of the folder makes it last.
#include "host/durable.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>

#include <cerrno>
#include <cstring>

#include "host/files.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> failed(const char* what, const std::string& name) {
  return tl::unexpected(fmt::format("cannot {} {}: {}", what, name, std::strerror(errno)));
}

}  // namespace

tl::expected<void, std::string> write_durably(int folder, const std::string& name, std::string_view text) {
  const std::string fresh = std::string(name).append(unfinished_suffix);
  {
    // What an earlier write left; a new file, so that no link is followed.
    if (::unlinkat(folder, fresh.c_str(), 0) != 0 && errno != ENOENT) return failed("replace", fresh);
    const Fd fd(::openat(folder, fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd || !write_all(fd.get(), {reinterpret_cast<const u8*>(text.data()), text.size()}) ||
        ::fsync(fd.get()) != 0) {
      auto why = failed("write", fresh);
      if (fd) ::unlinkat(folder, fresh.c_str(), 0);  // on a full disk there would be one for each try
      return why;
    }
  }
  if (::renameat(folder, fresh.c_str(), folder, name.c_str()) != 0) return failed("rename to", name);
  if (::fsync(folder) != 0) return failed("sync the folder of", name);
  return {};
}

tl::expected<void, std::string> remove_durably(int folder, const std::string& name) {
  if (::unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT) return failed("remove", name);
  if (::fsync(folder) != 0) return failed("sync the folder of", name);
  return {};
}

tl::expected<std::string, std::string> move_durably(int folder, const std::string& name, int to) {
  constexpr int most_of_a_name = 10'000;
  std::string free = name;
  for (int again = 1; ::renameat2(folder, name.c_str(), to, free.c_str(), RENAME_NOREPLACE) != 0; ++again) {
    if (errno != EEXIST || again > most_of_a_name) return failed("set aside", name);
    free = fmt::format("{}.{}", name, again);
  }
  if (::fsync(to) != 0 || ::fsync(folder) != 0) return failed("sync the folder of", name);
  return free;
}

}  // namespace cloister::toolstack
