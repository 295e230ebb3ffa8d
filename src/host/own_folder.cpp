// The path is walked a name at a time, by descriptors: what was looked at is what is used.
#include "host/own_folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <memory>
#include <thread>

#include "arch/try.hpp"
#include "host/whole_file.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr unsigned others_write = S_IWGRP | S_IWOTH, mode_bits = 07777;
constexpr unsigned parent_mode = 0755;
constexpr int most_links = 40;

tl::unexpected<std::string> system_error(const std::string& what) {
  return tl::unexpected(what + ": " + std::strerror(errno));
}

/// By whom: a user's number is all that a name service out of reach leaves.
bool trusted(uid_t user) { return user == 0 || user == ::geteuid(); }

std::string expected_owner() { return ::geteuid() == 0 ? "root" : fmt::format("user {} or root", ::geteuid()); }

/// A folder on the way.
tl::expected<void, std::string> check_parent(const struct stat& status, const std::string& path) {
  if (!trusted(status.st_uid)) {
    return tl::unexpected(fmt::format("{}: it is user {}'s, expected {}'s: others could swap what is in it", path,
                                      status.st_uid, expected_owner()));
  }
  if ((status.st_mode & others_write) != 0 && (status.st_mode & S_ISVTX) == 0) {
    return tl::unexpected(
        fmt::format("{}: mode {:03o} without the sticky bit, expected no write permission for others: they could swap "
                    "what is in it",
                    path, status.st_mode & mode_bits));
  }
  return {};
}

/// A folder that was made lasts as soon as the one that it is in is on disk; one that may not be read cannot be synced.
/// False: see errno.
bool sync_entries(int folder) {
  const Fd readable(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return readable ? ::fsync(readable.get()) == 0 : errno == EACCES;
}

/// Whose the folder itself is.
enum class Whose : u8 { ours, ours_or_roots };

tl::expected<void, std::string> check_own(const struct stat& status, const std::string& path,
                                          Whose whose = Whose::ours) {
  if (!S_ISDIR(status.st_mode)) return tl::unexpected(path + ": not a folder");
  if (whose == Whose::ours && status.st_uid != ::geteuid()) {
    return tl::unexpected(
        fmt::format("{}: it is user {}'s, expected user {}'s, who runs this", path, status.st_uid, ::geteuid()));
  }
  if (!trusted(status.st_uid))
    return tl::unexpected(fmt::format("{}: it is user {}'s, expected {}'s", path, status.st_uid, expected_owner()));
  if ((status.st_mode & others_write) != 0) {
    return tl::unexpected(fmt::format("{}: mode {:03o}, expected no write permission for group and others", path,
                                      status.st_mode & mode_bits));
  }
  return {};
}

/// Descriptors of all folders from the root on, the current one last: so ".." means what it says.
class Walk {
 public:
  Walk(const std::string& path, Making making, unsigned mode) : making_(making), mode_(mode) { prepend(path); }

  /// flags: of open(2), beside those of every folder.
  tl::expected<Fd, std::string> run(Whose whose, int flags) {
    TRY(enter_root());
    while (!left_.empty()) {
      const std::string name = std::move(left_.front());
      left_.pop_front();
      TRY(step(name));
    }
    const std::string path = shown();
    TRY(check_own(folders_.back().status, path, whose));
    Fd folder(::openat(current(), ".", flags | O_DIRECTORY | O_CLOEXEC));
    if (!folder) return system_error("cannot open " + path);
    return folder;
  }

 private:
  struct Folder {
    Fd fd;
    std::string name;
    struct stat status;
  };

  int current() const { return folders_.back().fd.get(); }
  std::string shown(const std::string& below = {}) const {
    std::string path;
    for (std::size_t i = 1; i < folders_.size(); ++i) path.append("/").append(folders_[i].name);
    if (!below.empty()) path.append("/").append(below);
    return path.empty() ? "/" : path;
  }
  void prepend(const std::string& path) {
    std::vector<std::string> names;
    for (const fs::path& part : fs::path(path)) {
      if (part != "/" && part != "." && !part.empty()) names.push_back(part);
    }
    left_.insert(left_.begin(), names.begin(), names.end());
  }
  tl::expected<void, std::string> enter_root() {
    folders_.clear();
    return enter(Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)), {});
  }
  tl::expected<void, std::string> enter(Fd fd, const std::string& name) {
    Folder folder{.fd = std::move(fd), .name = name, .status = {}};
    if (!folder.fd || ::fstat(folder.fd.get(), &folder.status) != 0) return system_error("cannot open " + shown(name));
    folders_.push_back(std::move(folder));
    return {};
  }

  tl::expected<void, std::string> step(const std::string& name) {
    if (name == "..") {
      if (folders_.size() > 1) folders_.pop_back();
      return {};
    }
    TRY(check_parent(folders_.back().status, shown()));
    Fd next = open_next(name);
    if (!next && errno == ENOENT && making_ == Making::missing) {
      if (::mkdirat(current(), name.c_str(), left_.empty() ? mode_ : parent_mode) != 0 && errno != EEXIST)
        return system_error("cannot make " + shown(name));
      if (!sync_entries(current())) return system_error("cannot sync the folder of " + shown(name));
      next = open_next(name);
    }
    struct stat status {};
    if (!next || ::fstat(next.get(), &status) != 0) return system_error("cannot open " + shown(name));
    if (S_ISLNK(status.st_mode)) return follow(next.get(), status, name);
    if (!S_ISDIR(status.st_mode)) return tl::unexpected(shown(name) + ": not a folder");
    return enter(std::move(next), name);
  }
  Fd open_next(const std::string& name) const {
    return Fd(::openat(current(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }
  tl::expected<void, std::string> follow(int link, const struct stat& status, const std::string& name) {
    if (!trusted(status.st_uid))
      return tl::unexpected(
          fmt::format("{}: a link that user {} made, expected {}", shown(name), status.st_uid, expected_owner()));
    std::string target(PATH_MAX, '\0');
    const ssize_t size = ::readlinkat(link, "", target.data(), target.size());
    if (size <= 0) return system_error("cannot read " + shown(name));
    target.resize(static_cast<std::size_t>(size));
    if (++links_ > most_links) return tl::unexpected(shown(name) + ": too many links");
    prepend(target);
    if (target.front() == '/') return enter_root();
    return {};
  }

  Making making_;
  unsigned mode_;
  std::deque<std::string> left_;
  std::vector<Folder> folders_;
  int links_ = 0;
};

tl::expected<std::string, std::string> absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (path.empty() || error) return tl::unexpected("'" + path + "': not a path");
  return absolute.string();
}

}  // namespace

tl::expected<Fd, std::string> open_own_folder(const std::string& path, Making making, unsigned mode) {
  const auto absolute = TRY(absolute_path(path));
  return Walk(absolute, making, mode).run(Whose::ours, O_RDONLY);
}

tl::expected<Fd, std::string> open_trusted_folder(const std::string& path) {
  const auto absolute = TRY(absolute_path(path));
  return Walk(absolute, Making::never, 0).run(Whose::ours_or_roots, O_PATH);
}

tl::expected<Fd, std::string> open_own_subfolder(int folder, const std::string& name, Making making, unsigned mode,
                                                 const std::string& parent) {
  const std::string path = parent + "/" + name;
  if (making == Making::missing && ::mkdirat(folder, name.c_str(), mode) != 0 && errno != EEXIST)
    return system_error("cannot make " + path);
  // Even if it was there: who made it may have died before this.
  if (making == Making::missing && !sync_entries(folder)) return system_error("cannot sync the folder of " + path);
  Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ELOOP || errno == ENOTDIR)) return tl::unexpected(path + ": not a folder, or a link to one");
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return system_error("cannot open " + path);
  TRY(check_own(status, path));
  return fd;
}

tl::expected<std::vector<std::string>, std::string> names_in(int folder) {
  const int own = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(own < 0 ? nullptr : ::fdopendir(own), &::closedir);
  if (stream == nullptr) {
    const int reason = errno;
    if (own >= 0) ::close(own);
    return tl::unexpected(std::string(std::strerror(reason)));
  }
  std::vector<std::string> names;
  for (errno = 0; const dirent* const entry = ::readdir(stream.get()); errno = 0) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  if (errno != 0) return tl::unexpected(std::string(std::strerror(errno)));
  std::ranges::sort(names);
  return names;
}

tl::expected<std::optional<std::vector<u8>>, std::string> read_own_file(int folder, const std::string& name) {
  // Without waiting for the writer of a named pipe.
  const Fd file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file && errno == ELOOP) return tl::unexpected(std::string("a link"));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) return tl::unexpected(std::string("not a regular file"));
  if (status.st_uid != ::geteuid())
    return tl::unexpected(fmt::format("it is user {}'s, expected user {}'s", status.st_uid, ::geteuid()));
  auto bytes = TRY(read_within(file.get(), longest_own));
  return bytes;
}

tl::expected<std::optional<std::string>, std::string> read_own_text(int folder, const std::string& name) {
  const auto bytes = TRY(read_own_file(folder, name));
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), bytes->end());
}

tl::expected<Fd, std::string> lock_in(int folder, const std::string& name, const std::string& parent,
                                      const char* what) {
  const std::string path = parent + "/" + name;
  Fd fd(::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return system_error("cannot open " + path);
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid())
    return tl::unexpected(fmt::format("{}: expected a regular file of user {}'s", path, ::geteuid()));
  // One that was killed while it started a program may hold it until that one's exec().
  for (int attempts = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++attempts) {
    if (errno != EWOULDBLOCK) return system_error("cannot lock " + path);
    if (attempts == 20) return tl::unexpected(path + ": " + what);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return fd;
}

}  // namespace cloister::toolstack
