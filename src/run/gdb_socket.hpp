// The socket of `--gdb`, there as long as the run is.
#pragma once

#include <sys/types.h>

#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister::toolstack {

class GdbSocket {
 public:
  /// Listens at the path, in place of a socket that nobody listens on any more. The error names the path.
  static tl::expected<GdbSocket, std::string> listen(const std::string& path);
  GdbSocket(GdbSocket&&) = default;
  /// Removes the socket, if it is still this one.
  ~GdbSocket();

  /// It does not wait.
  int descriptor() const { return fd_.get(); }

 private:
  GdbSocket(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  Fd fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace cloister::toolstack
