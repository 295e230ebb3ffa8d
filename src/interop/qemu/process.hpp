// QEMU as a child: its console is ours, and its monitor is a socket that nobody else has.
#pragma once

#include <sys/types.h>

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack::qemu {

/// The monitor's descriptor in the child.
inline constexpr int monitor_fd = 3;

/// A child that dies with this object, and with this process.
class Process {
 public:
  /// Standard input is a descriptor of ours, output and errors are ours. It is in a process group of its own, so that
  /// the terminal's signals reach us alone.
  static tl::expected<Process, std::string> start(const std::string& program, std::vector<std::string> arguments,
                                                  int standard_input);
  Process(Process&& other) noexcept = default;
  Process& operator=(Process&&) = delete;
  ~Process();

  int monitor() const { return monitor_.get(); }
  /// Readable when it has ended.
  int ended() const { return pidfd_.get(); }
  void kill();
  /// Waits for its end: "status 1", "signal 9".
  std::string reap();

 private:
  Process(Fd pidfd, Fd monitor) : pidfd_(std::move(pidfd)), monitor_(std::move(monitor)) {}
  Fd pidfd_, monitor_;
};

/// What a program prints on both of its streams; the error says why it could not be run.
tl::expected<std::string, std::string> output_of(const std::string& program, std::vector<std::string> arguments);

}  // namespace cloister::toolstack::qemu
