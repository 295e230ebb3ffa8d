// The log of a process whose standard error is a pipe to another's: a line that the pipe has no room for, that nobody
// would read, or that is one too many (line_limit.hpp), is left out and counted. Nothing here waits.
#pragma once

#include <spdlog/sinks/base_sink.h>

#include <mutex>
#include <string>

#include "host/line_limit.hpp"

namespace cloister::toolstack {

class PipeSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  /// descriptor: not owned. If it is a pipe, it must not wait (O_NONBLOCK), and SIGPIPE be ignored.
  explicit PipeSink(int descriptor) : descriptor_(descriptor) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}

 private:
  std::string text_of(const spdlog::details::log_msg& message);
  bool write_line(const std::string& line);

  int descriptor_;
  bool torn_ = false;  ///< the last line lacks its end
  LineLimit limit_;
};

}  // namespace cloister::toolstack
