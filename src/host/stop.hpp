// Why a run should end early: a signal, or the keyboard. While a StopSource lives, SIGINT, SIGTERM, SIGHUP and SIGQUIT
// set it rather than end the process, and SIGPIPE and SIGXFSZ are ignored: a write says what they say. The first
// SIGTERM only asks the guest to shut down.
#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>

namespace cloister::toolstack {

class StopSource {
 public:
  StopSource();
  ~StopSource();
  StopSource(const StopSource&) = delete;
  StopSource& operator=(const StopSource&) = delete;

  const std::atomic<bool>& flag() const;
  /// SIGTERM came: the guest should shut itself down.
  const std::atomic<bool>& shutdown() const;
  /// Any thread.
  void request();
  /// Sleeps until then, or until there is a reason to end. False: there is one.
  bool sleep_until(std::chrono::steady_clock::time_point end) const;
  /// How many reasons there were.
  unsigned requests() const;
  /// The signal that stopped the run; 0 if none did.
  int signal() const;

 private:
  static constexpr std::array handled_ = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ};
  std::array<struct sigaction, handled_.size()> before_{};
};

}  // namespace cloister::toolstack
