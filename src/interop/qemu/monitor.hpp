// What QEMU says of its guest's end on its monitor (QEMU, docs/interop/qmp-spec; qapi/run-state.json).
#pragma once

#include <string>
#include <string_view>

namespace cloister::toolstack::qemu {

class Monitor {
 public:
  /// The socket stays its owner's.
  explicit Monitor(int socket);

  /// Takes what has come; false if no more will.
  bool read();
  /// Asks QEMU to end.
  void quit() { command("quit"); }

  /// Of the event SHUTDOWN: "guest-shutdown", "guest-reset", "host-qmp-quit"; empty if there was none.
  const std::string& shutdown_reason() const { return shutdown_reason_; }
  /// KVM met what it could not go on with, and the guest stands still for ever.
  bool internal_error() const { return internal_error_; }

 private:
  void command(std::string_view name);
  void take(std::string_view line);

  int socket_;
  std::string pending_;
  std::string shutdown_reason_;
  bool internal_error_ = false;
};

}  // namespace cloister::toolstack::qemu
