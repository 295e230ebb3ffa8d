// A file descriptor with one owner, and whole files.
#pragma once

#include <unistd.h>

#include <span>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack {

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// The bytes from the descriptor's offset to its end; the error is the system's.
tl::expected<std::vector<u8>, std::string> read_all(int fd);
/// The bytes of a regular file (or a pipe); the error is the system's.
tl::expected<std::vector<u8>, std::string> read_file(const std::string& path);

/// Writes all; false if the descriptor takes no more.
bool write_all(int fd, std::span<const u8> bytes);

}  // namespace cloister::toolstack
