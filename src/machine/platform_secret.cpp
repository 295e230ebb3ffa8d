// Secrets, a file each.
#include "machine/platform_secret.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "arch/try.hpp"
#include "host/durable.hpp"
#include "host/own_folder.hpp"

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

/// nullopt: there is none.
tl::expected<std::optional<Secret>, std::string> read_secret(int folder, const std::string& path,
                                                             const SecretFile& which) {
  const Fd file{::openat(folder, which.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
  if (!file && errno == ENOENT) return std::nullopt;
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return failed("cannot open", path);
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid())
    return tl::unexpected(fmt::format("{}: expected a regular file of user {}'s", path, ::geteuid()));
  if ((status.st_mode & 077) != 0) {
    return tl::unexpected(
        fmt::format("{}: mode {:03o}, expected 600: others may have read {}", path, status.st_mode & 0777, which.what));
  }
  Secret secret;
  if (status.st_size != static_cast<off_t>(secret.size()) ||
      ::read(file.get(), secret.data(), secret.size()) != static_cast<ssize_t>(secret.size())) {
    return tl::unexpected(fmt::format("{}: {} bytes, expected {}", path, status.st_size, secret.size()));
  }
  return secret;
}

/// Who makes the secret of a folder: others wait (flock(2)).
class Turn {
 public:
  explicit Turn(int folder) : folder_(folder), held_(::flock(folder, LOCK_EX) == 0) {}
  ~Turn() {
    if (held_) ::flock(folder_, LOCK_UN);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const { return held_; }

 private:
  int folder_;
  bool held_;
};

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

tl::expected<Secret, std::string> secret_in(int folder, const std::string& path_of_folder, const SecretFile& which,
                                            MissingSecret missing) {
  const std::string path = path_of_folder + "/" + which.name;
  const auto old = TRY(read_secret(folder, path, which));
  if (old && missing == MissingSecret::must_be)
    return tl::unexpected(path + ": it is there, and no new secret replaces it");
  if (old) return *old;
  if (missing == MissingSecret::refuse) {
    return tl::unexpected(fmt::format("{}: it is missing, and with it {}: put it back, or start once with {}", path,
                                      which.lost, which.anew));
  }
  // One at a time, so that two first starts agree on one secret; none sees half of it, whenever the machine stops.
  const Turn turn(folder);
  if (!turn) return failed("cannot lock", path_of_folder);
  const auto other = TRY(read_secret(folder, path, which));
  if (other) return *other;
  const Secret secret = random_secret();
  const std::string_view text(reinterpret_cast<const char*>(secret.data()), secret.size());
  if (auto written = write_durably(folder, which.name, text); !written)
    return tl::unexpected(path_of_folder + ": " + written.error());
  return secret;
}

bool has_secret(int folder, const SecretFile& which) {
  struct stat status {};
  return ::fstatat(folder, which.name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

Secret random_secret() {
  Secret secret;
  fill_random(secret);
  return secret;
}

tl::expected<PlatformSecret, std::string> platform_secret(const std::string& folder) {
  if (folder.empty()) {
    return tl::unexpected(std::string("no place for the platform's secret: set CLOISTER_STATE to a folder, or HOME"));
  }
  const auto opened = TRY(open_own_folder(folder, Making::missing, 0700));
  return secret_in(opened.get(), folder, platform_secret_file, MissingSecret::make);
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
