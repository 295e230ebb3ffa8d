// The file of `--trace`: lines from any processor, buffered, and whole when it is destroyed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "host/fd.hpp"
#include "host/mutex.hpp"
#include "run/patience.hpp"

namespace cloister::toolstack {

class TraceFile {
 public:
  /// patience must outlive it. The error names the file.
  static tl::expected<std::unique_ptr<TraceFile>, std::string> open(const std::string& path, Patience& patience);

  /// Any thread. A line that cannot be written is a message, once, and those after it are left out.
  void add(std::string_view line);
  /// Writes what is buffered. False: lines were lost.
  bool finish();

 private:
  TraceFile(std::string path, Fd fd, Patience& patience)
      : path_(std::move(path)), fd_(std::move(fd)), patience_(patience) {}
  void write_out() CLOISTER_REQUIRES(lock_);

  std::string path_;
  Fd fd_;
  Patience& patience_;
  Mutex lock_;
  std::string pending_ CLOISTER_GUARDED_BY(lock_);
  bool lost_ CLOISTER_GUARDED_BY(lock_) = false;
};

}  // namespace cloister::toolstack
