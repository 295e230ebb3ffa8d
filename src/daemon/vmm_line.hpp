// What a VMM writes, for the daemon's log. A VMM may have been taken over: whatever it writes, a line of the log says
// whose it is in words of the daemon's, and holds no byte that a terminal would obey.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "arch/types.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

/// Bytes into lines. What is longer than longest_line is cut there.
class LineReader {
 public:
  static constexpr std::size_t longest_line = 16 << 10;
  using Take = std::function<void(std::string_view)>;

  void feed(std::span<const char> bytes, const Take& take);
  /// What has no end of line yet.
  void finish(const Take& take);

 private:
  std::string line_;
};

struct VmmLine {
  LogLevel level = LogLevel::warning;
  std::string fields;  ///< for log_for()
};

/// A line in logfmt keeps its level, event and fields, but for `domain` and `id`, which are what the daemon says. Any
/// other line is the value of a field itself.
VmmLine vmm_line(std::string_view line, const std::string& domain, u32 id);

}  // namespace cloister::toolstack
