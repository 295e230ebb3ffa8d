// The guest's console on our standard input. A terminal is put into raw mode, so that control characters reach the
// guest, and Ctrl-] ends the run; anything else (a file, a pipe) is handed to the guest as it is.
#pragma once

#include <termios.h>

#include <string_view>
#include <thread>
#include <vector>

#include "host/files.hpp"
#include "host/stop.hpp"

namespace cloister::toolstack {

/// Leaves a console: Ctrl-].
inline constexpr u8 escape_key = 0x1d;

/// Raw mode while it lives, output processing kept: our own messages still end their lines. The terminal is as it was
/// also when the process dies of a signal, and while it is stopped by SIGTSTP. One at a time.
class RawTerminal {
 public:
  /// greeting, farewell: what is written to standard output each time that raw mode begins and ends; they stay the
  /// caller's.
  explicit RawTerminal(int fd, std::string_view greeting = {}, std::string_view farewell = {});
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  /// The descriptor is a terminal, and it is ours.
  bool active() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
  std::vector<int> taken_;  ///< signals that had their default
};

/// Passes `terminal`'s keys on through a pipe until Ctrl-], which requests a stop, however many keys nobody has read
/// yet: those that neither the pipe nor HeldKeys has room for are left out.
class KeyPump {
 public:
  KeyPump(int terminal, StopSource& stop);
  ~KeyPump();
  KeyPump(const KeyPump&) = delete;
  KeyPump& operator=(const KeyPump&) = delete;

  /// What the guest's serial port reads.
  int keys() const { return read_end_.get(); }

 private:
  void pump(int terminal, StopSource& stop);

  Fd read_end_, write_end_, wake_;
  std::thread thread_;
};

}  // namespace cloister::toolstack
