// The platform's root secret, in a file.
#include "toolstack/platform_secret.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>

#include "toolstack/fd.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> failed(const std::string& what, const std::string& path) {
  return tl::unexpected(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

void fill_random(std::span<u8> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
}

tl::expected<PlatformSecret, std::string> read_secret(const Fd& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return failed("cannot look at", path);
  if ((status.st_mode & 077) != 0) {
    return tl::unexpected(fmt::format("{}: mode {:03o}, expected 600: others may have read the platform's secret", path,
                                      status.st_mode & 0777));
  }
  PlatformSecret secret;
  if (status.st_size != static_cast<off_t>(secret.size()) ||
      ::read(file.get(), secret.data(), secret.size()) != static_cast<ssize_t>(secret.size())) {
    return tl::unexpected(fmt::format("{}: {} bytes, expected {}", path, status.st_size, secret.size()));
  }
  return secret;
}

}  // namespace

std::string state_folder() {
  if (const char* const own = std::getenv("CLOISTER_STATE"); own != nullptr && *own != '\0') return own;
  if (const char* const xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg != '\0') {
    return std::string(xdg).append("/cloister");
  }
  if (const char* const home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::string(home).append("/.local/state/cloister");
  }
  return {};
}

tl::expected<PlatformSecret, std::string> platform_secret(const std::string& folder) {
  if (folder.empty()) {
    return tl::unexpected(std::string("no place for the platform's secret: set CLOISTER_STATE to a folder, or HOME"));
  }
  const std::string path = std::string(folder).append("/platform-secret");
  if (const Fd old{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}) return read_secret(old, path);
  if (errno != ENOENT) return failed("cannot open", path);

  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return tl::unexpected(fmt::format("cannot make {}: {}", folder, error.message()));
  ::chmod(folder.c_str(), 0700);
  PlatformSecret secret;
  fill_random(secret);
  // Written aside and linked, so that two first starts agree on one secret and none sees half of it.
  const std::string fresh = fmt::format("{}.{}", path, ::getpid());
  {
    const Fd file{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (!file || !write_all(file.get(), secret)) return failed("cannot write", fresh);
  }
  const int linked = ::link(fresh.c_str(), path.c_str());
  const int reason = errno;
  ::unlink(fresh.c_str());
  if (linked == 0) return secret;
  errno = reason;
  if (reason != EEXIST) return failed("cannot make", path);
  const Fd other{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!other) return failed("cannot open", path);
  return read_secret(other, path);
}

PlatformSecret fixed_platform_secret() {
  PlatformSecret secret;
  for (std::size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<u8>(i);
  return secret;
}

u64 random_boot_number() {
  u64 number = 0;
  fill_random({reinterpret_cast<u8*>(&number), sizeof number});
  return number;
}

}  // namespace cloister::toolstack
