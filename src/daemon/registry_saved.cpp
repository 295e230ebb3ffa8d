// The registry's files of domains that were saved when the host went down.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/registry.hpp"
#include "host/durable.hpp"
#include "host/own_folder.hpp"

namespace cloister::toolstack {

tl::expected<std::vector<std::string>, std::string> Registry::saved() const {
  if (!saved_) return std::vector<std::string>{};
  return names_in(saved_.get());
}

tl::expected<void, std::string> Registry::rename_saved(const std::string& from, const std::string& to) const {
  if (::renameat(saved_.get(), from.c_str(), saved_.get(), to.c_str()) != 0 || ::fsync(saved_.get()) != 0)
    return tl::unexpected(from + ": " + std::strerror(errno));
  return {};
}

tl::expected<void, std::string> Registry::remove_saved(const std::string& name) const {
  return remove_durably(saved_.get(), name);
}

std::vector<u8> Registry::beginning_of_saved(const std::string& name, std::size_t bytes) const {
  const Fd file(::openat(saved_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::vector<u8> beginning(bytes);
  const ssize_t got = file ? ::pread(file.get(), beginning.data(), bytes, 0) : 0;
  beginning.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return beginning;
}

}  // namespace cloister::toolstack
