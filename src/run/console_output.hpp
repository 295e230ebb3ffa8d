// The guest's console on standard output. Processors that print wait for its reader, but not beyond the run's end.
#pragma once

#include <optional>
#include <span>

#include "host/last_line.hpp"
#include "host/stop.hpp"
#include "run/patience.hpp"

namespace cloister::toolstack {

class ConsoleOutput {
 public:
  /// Both must outlive it. A stop is requested when nothing more can be written.
  ConsoleOutput(StopSource& stop, Patience& patience) : stop_(stop), patience_(patience) {}

  /// Any thread, one at a time.
  void add(std::span<const u8> bytes);
  /// False: not all could be written. A message says what is lost, and why.
  bool finish() const;
  const LastLine& last_line() const { return last_line_; }

 private:
  StopSource& stop_;
  Patience& patience_;
  LastLine last_line_;
  std::optional<int> failed_;  ///< errno
  bool unread_ = false;        ///< some was left out
};

}  // namespace cloister::toolstack
