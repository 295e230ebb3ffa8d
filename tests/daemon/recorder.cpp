// Preloaded into a program (ld.so(8), LD_PRELOAD): writes down, in order, what it does to the files below some folders,
// and kills it at a step that it is told. What is read is written down too, and what programs are started.
//
//   CLOISTER_RECORDER_LOG      the file that it appends to, a line each: WHAT, PATH, OTHER PATH, NUMBER, DATA in hex,
//   which
//                              are parted by tabs
//   CLOISTER_RECORDER_FOLDERS  the folders, parted by colons: absolute paths without links
//   CLOISTER_RECORDER_DEATH    a file: empty, or "before N" or "after N", of the steps since it says so, from 1 on
//
// A step is all that changes something, or tried to. Calls that a library makes inside itself are not seen: who reads
// the log compares what follows from it with what is there.
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace {

template <typename... Arguments>
long call(long number, Arguments... arguments) {
  return ::syscall(number, arguments...);
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::string target_of(const std::string& link) {
  std::string target(4096, '\0');
  const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
  target.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return target;
}

std::string path_of(int fd) {
  return target_of(fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/" + std::to_string(fd));
}

std::string path_of(int folder, const char* name) {
  std::string path = *name == '/' ? name : path_of(folder) + "/" + name;
  path = std::filesystem::path(path).lexically_normal();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string hex(const void* data, std::size_t size) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    const unsigned byte = static_cast<const unsigned char*>(data)[i];
    text.append({digits[byte >> 4], digits[byte & 15]});
  }
  return text;
}

struct Line {
  const char* what;
  std::string path, other = {};
  unsigned long number = 0;
  std::string data = {};
};

class Recorder {
 public:
  Recorder()
      : death_(variable("CLOISTER_RECORDER_DEATH")),
        log_(static_cast<int>(call(SYS_openat, AT_FDCWD, variable("CLOISTER_RECORDER_LOG").c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600))) {
    std::string folders = variable("CLOISTER_RECORDER_FOLDERS") + ":";
    for (std::size_t end; (end = folders.find(':')) != std::string::npos; folders.erase(0, end + 1)) {
      if (end != 0) folders_.push_back(folders.substr(0, end));
    }
  }

  bool covers(std::string_view path) const {
    for (const std::string& folder : folders_) {
      if (path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/')) return true;
    }
    return false;
  }

  /// The change, which returns below 0 if there was none, and what to write of it. In the order in which they were.
  template <typename Change>
  long step(const Line& line, Change change) {
    const std::lock_guard held(lock_);
    count();
    die_if("before");
    const long result = change();
    const int error = errno;
    if (result < 0) {
      write({"failed", line.path});
    } else if (line.data.empty() || static_cast<std::size_t>(result) * 2 >= line.data.size()) {
      write(line);
    } else {
      write({line.what, line.path, line.other, line.number, line.data.substr(0, static_cast<std::size_t>(result) * 2)});
    }
    die_if("after");
    errno = error;
    return result;
  }

  void note(const Line& line) {
    const int error = errno;
    const std::lock_guard held(lock_);
    write(line);
    errno = error;
  }

 private:
  void write(const Line& line) const {
    const std::string text = std::string(line.what) + "\t" + line.path + "\t" + line.other + "\t" +
                             std::to_string(line.number) + "\t" + line.data + "\n";
    if (call(SYS_write, log_, text.data(), text.size()) != static_cast<long>(text.size())) std::abort();
  }

  void count() {
    if (death_.empty()) return;
    std::string told(32, '\0');
    const int fd = static_cast<int>(call(SYS_openat, AT_FDCWD, death_.c_str(), O_RDONLY | O_CLOEXEC, 0));
    const long size = fd < 0 ? 0 : call(SYS_read, fd, told.data(), told.size());
    call(SYS_close, fd);
    told.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    if (told != told_) steps_ = 0;
    told_ = told;
    ++steps_;
  }

  void die_if(const char* when) const {
    if (told_ == std::string(when) + " " + std::to_string(steps_)) ::kill(::getpid(), SIGKILL);
  }

  std::mutex lock_;
  std::vector<std::string> folders_;
  std::string death_, told_;
  unsigned long steps_ = 0;
  int log_;
};

Recorder& recorder() {
  // Never destroyed: the program may change files until its last.
  static Recorder* const one = new Recorder;
  return *one;
}

/// Of a path that is not covered nothing is known but the result.
template <typename Change>
long step(const Line& line, Change change) {
  if (!recorder().covers(line.path) && !recorder().covers(line.other)) return change();
  return recorder().step(line, change);
}

long open_file(int folder, const char* name, int flags, unsigned mode) {
  const auto open = [&] { return call(SYS_openat, folder, name, flags, mode); };
  const std::string path = path_of(folder, name);
  if (!recorder().covers(path)) return open();
  struct stat status {};
  const bool there = ::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
  // The descriptor's permissions are the caller's; those of the file follow from the umask, which only the file can
  // tell.
  if (!there && (flags & O_CREAT) != 0) return step({"create", path, {}, mode}, open);
  if (there && (flags & O_TRUNC) != 0) return step({"truncate", path}, open);
  const long fd = open();
  if (fd >= 0 && there && S_ISREG(status.st_mode)) recorder().note({"read", path});
  return fd;
}

long write_file(int fd, const Line& at, const void* data, std::size_t size, long number, long offset) {
  return step({"write", at.path, {}, at.number, hex(data, size)}, [&] {
    return number == SYS_write ? call(SYS_write, fd, data, size) : call(SYS_pwrite64, fd, data, size, offset);
  });
}

/// Where the next byte goes.
Line end_of(int fd, const std::string& path) {
  struct stat status {};
  if ((::fcntl(fd, F_GETFL) & O_APPEND) == 0)
    return {"write", path, {}, static_cast<unsigned long>(::lseek(fd, 0, SEEK_CUR))};
  return {"write", path, {}, ::fstat(fd, &status) == 0 ? static_cast<unsigned long>(status.st_size) : 0};
}

unsigned mode_of(int flags, va_list& arguments) { return (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0; }

}  // namespace

extern "C" {

#define CLOISTER_OPEN(NAME)                                          \
  int NAME(const char* name, int flags, ...) {                       \
    va_list arguments;                                               \
    va_start(arguments, flags);                                      \
    const unsigned mode = mode_of(flags, arguments);                 \
    va_end(arguments);                                               \
    return static_cast<int>(open_file(AT_FDCWD, name, flags, mode)); \
  }
#define CLOISTER_OPENAT(NAME)                                      \
  int NAME(int folder, const char* name, int flags, ...) {         \
    va_list arguments;                                             \
    va_start(arguments, flags);                                    \
    const unsigned mode = mode_of(flags, arguments);               \
    va_end(arguments);                                             \
    return static_cast<int>(open_file(folder, name, flags, mode)); \
  }
CLOISTER_OPEN(open)
CLOISTER_OPEN(open64)
CLOISTER_OPEN(__open_2)
CLOISTER_OPEN(__open64_2)
CLOISTER_OPENAT(openat)
CLOISTER_OPENAT(openat64)
CLOISTER_OPENAT(__openat_2)
CLOISTER_OPENAT(__openat64_2)
#undef CLOISTER_OPEN
#undef CLOISTER_OPENAT

int creat(const char* name, mode_t mode) {
  return static_cast<int>(open_file(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode));
}
int creat64(const char* name, mode_t mode) { return creat(name, mode); }

ssize_t write(int fd, const void* data, size_t size) {
  const std::string path = path_of(fd);
  if (!recorder().covers(path)) return call(SYS_write, fd, data, size);
  return write_file(fd, end_of(fd, path), data, size, SYS_write, 0);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return write_file(fd, {"write", path_of(fd), {}, static_cast<unsigned long>(offset)}, data, size, SYS_pwrite64,
                    offset);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }
ssize_t writev(int fd, const iovec* parts, int count) {
  const std::string path = path_of(fd);
  if (!recorder().covers(path)) return call(SYS_writev, fd, parts, count);
  Line line = end_of(fd, path);
  for (int i = 0; i < count; ++i) line.data += hex(parts[i].iov_base, parts[i].iov_len);
  return step(line, [&] { return call(SYS_writev, fd, parts, count); });
}

int ftruncate64(int fd, off64_t size) noexcept {
  return static_cast<int>(step({"truncate", path_of(fd), {}, static_cast<unsigned long>(size)},
                               [&] { return call(SYS_ftruncate, fd, size); }));
}
int ftruncate(int fd, off_t size) noexcept { return ftruncate64(fd, size); }
int truncate64(const char* name, off64_t size) noexcept {
  return static_cast<int>(step({"truncate", path_of(AT_FDCWD, name), {}, static_cast<unsigned long>(size)},
                               [&] { return call(SYS_truncate, name, size); }));
}
int truncate(const char* name, off_t size) noexcept { return truncate64(name, size); }

int fsync(int fd) {
  return static_cast<int>(step({"sync", path_of(fd)}, [&] { return call(SYS_fsync, fd); }));
}
int fdatasync(int fd) {
  return static_cast<int>(step({"sync", path_of(fd)}, [&] { return call(SYS_fdatasync, fd); }));
}

int renameat2(int from, const char* name, int to, const char* other, unsigned flags) noexcept {
  const char* const what = (flags & RENAME_EXCHANGE) != 0 ? "exchange" : "rename";
  return static_cast<int>(step({what, path_of(from, name), path_of(to, other)},
                               [&] { return call(SYS_renameat2, from, name, to, other, flags); }));
}
int renameat(int from, const char* name, int to, const char* other) noexcept {
  return renameat2(from, name, to, other, 0);
}
int rename(const char* name, const char* other) noexcept { return renameat2(AT_FDCWD, name, AT_FDCWD, other, 0); }

int linkat(int from, const char* name, int to, const char* other, int flags) noexcept {
  return static_cast<int>(step({"link", path_of(from, name), path_of(to, other)},
                               [&] { return call(SYS_linkat, from, name, to, other, flags); }));
}
int link(const char* name, const char* other) noexcept { return linkat(AT_FDCWD, name, AT_FDCWD, other, 0); }

int unlinkat(int folder, const char* name, int flags) noexcept {
  const char* const what = (flags & AT_REMOVEDIR) != 0 ? "rmdir" : "unlink";
  return static_cast<int>(step({what, path_of(folder, name)}, [&] { return call(SYS_unlinkat, folder, name, flags); }));
}
int unlink(const char* name) noexcept { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char* name) noexcept { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char* name) noexcept {
  struct stat status {};
  const bool folder = ::fstatat(AT_FDCWD, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
  return unlinkat(AT_FDCWD, name, folder ? AT_REMOVEDIR : 0);
}

int mkdirat(int folder, const char* name, mode_t mode) noexcept {
  return static_cast<int>(
      step({"mkdir", path_of(folder, name), {}, mode}, [&] { return call(SYS_mkdirat, folder, name, mode); }));
}
int mkdir(const char* name, mode_t mode) noexcept { return mkdirat(AT_FDCWD, name, mode); }

/// Of Unix sockets with a path, whatever folder it is in.
int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  const auto bind = [&] { return call(SYS_bind, fd, address, size); };
  if (address->sa_family != AF_UNIX || size <= sizeof address->sa_family || address->sa_data[0] == '\0')
    return static_cast<int>(bind());
  return static_cast<int>(recorder().step({"bind", "a socket"}, bind));
}

int posix_spawn(pid_t* pid, const char* program, const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes, char* const* words, char* const* environment) {
  using Spawn = decltype(&::posix_spawn);
  static const Spawn next = reinterpret_cast<Spawn>(::dlsym(RTLD_NEXT, "posix_spawn"));
  int error = 0;
  recorder().step({"spawn", program}, [&] {
    error = next(pid, program, actions, attributes, words, environment);
    return error == 0 ? 0 : -1;
  });
  return error;
}

}  // extern "C"
