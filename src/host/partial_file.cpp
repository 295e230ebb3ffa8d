#include "host/partial_file.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/files.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> because(int error) { return tl::unexpected(std::string(std::strerror(error))); }

}  // namespace

tl::expected<PartialFile, std::string> PartialFile::at(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (name.empty() || name == "." || name == ".." || path.find('\0') != std::string::npos)
    return tl::unexpected(std::string("expected a file's name"));
  Fd fd = open_outside_processes(folder, O_PATH | O_DIRECTORY);
  if (!fd && errno == ELOOP) return tl::unexpected(std::string(too_many_links));
  if (!fd) return because(errno);
  return PartialFile(std::move(fd), name);
}

tl::expected<PartialFile::Place, std::string> PartialFile::place(MayGo may_go) const {
  struct stat status {};
  if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) return because(errno);
    return Place::empty;
  }
  if (may_go == nullptr) return because(EEXIST);
  if (!S_ISREG(status.st_mode)) return tl::unexpected(std::string("it is not a regular file, and is not replaced"));
  if (status.st_uid != ::geteuid()) return tl::unexpected(std::string("it is another user's, and is not replaced"));
  const Fd old(::openat(folder_.get(), name_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!old) return because(errno);
  if (!may_go(old.get()))
    return tl::unexpected(std::string("it is not what was saved of a domain, and is not replaced"));
  return Place::may_go;
}

tl::expected<Fd, std::string> PartialFile::create(int flags, MayGo may_go) const {
  TRY(place(may_go));
  const auto failed = [this](int error) { return tl::unexpected(partial() + ": " + std::strerror(error)); };
  Fd fd(::openat(folder_.get(), partial().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | flags, S_IRUSR | S_IWUSR));
  if (!fd) return failed(errno);
  if (::fsync(fd.get()) != 0) {
    const int error = errno;
    (void)remove();
    return failed(error);
  }
  if (auto synced = sync_folder(); !synced) {
    (void)remove();
    return tl::unexpected(synced.error());
  }
  return fd;
}

Fd PartialFile::open() const {
  return Fd(::openat(folder_.get(), partial().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
}

tl::expected<void, std::string> PartialFile::finish(MayGo may_go) const {
  const auto stays = [this](const std::string& why) {
    return tl::unexpected("it is whole, and stays " + partial() + ": " + why);
  };
  const auto now = place(may_go);
  if (!now && may_go != nullptr) return stays(now.error());
  const auto named = [&] {
    if (now && *now == Place::may_go)
      return ::renameat(folder_.get(), partial().c_str(), folder_.get(), name_.c_str()) == 0;
    if (::renameat2(folder_.get(), partial().c_str(), folder_.get(), name_.c_str(), RENAME_NOREPLACE) == 0) return true;
    // A file system that cannot tell (NFS) has links, which never take another one's place.
    return errno == EINVAL && ::linkat(folder_.get(), partial().c_str(), folder_.get(), name_.c_str(), 0) == 0 &&
           ::unlinkat(folder_.get(), partial().c_str(), 0) == 0;
  };
  if (!named()) return stays(std::strerror(errno));
  return sync_folder();
}

tl::expected<void, std::string> PartialFile::remove() const {
  if (::unlinkat(folder_.get(), partial().c_str(), 0) != 0 && errno != ENOENT)
    return tl::unexpected(partial() + ": " + std::strerror(errno));
  return {};
}

/// A folder that may be written and not read cannot be synced.
tl::expected<void, std::string> PartialFile::sync_folder() const {
  const Fd readable(::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (readable && ::fsync(readable.get()) != 0) return because(errno);
  return {};
}

}  // namespace cloister::toolstack
