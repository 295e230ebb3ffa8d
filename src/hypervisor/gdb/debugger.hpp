// A domain under GDB: the server's Unix socket, and the machine as the stub's target. One client at a time; the guest
// stops when it connects and goes on when it leaves.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "hypervisor/gdb/breakpoints.hpp"
#include "hypervisor/gdb/registers.hpp"
#include "hypervisor/gdb/stub.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor::gdb {

/// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }

 private:
  int value_ = -1;
};

class Debugger final : public Target {
 public:
  static tl::expected<std::unique_ptr<Debugger>, std::string> listen(const std::string& path, Machine& machine);
  ~Debugger() override;

  /// What to wait on for input.
  int descriptor() const { return client_ ? client_.get() : listener_.get(); }
  /// Takes a new client, or what the present one sent. Does not wait.
  void service();

  bool connected() const { return static_cast<bool>(client_); }
  bool stopped() const { return connected() && stub_->state() == RunState::stopped; }
  bool stepping() const { return connected() && stub_->state() == RunState::stepping; }
  bool killed() const { return killed_; }

  /// Whether the guest is at a breakpoint of this debugger.
  bool at_breakpoint() const;
  /// Breakpoints wait for page tables: look again soon.
  bool waiting() const { return breakpoints_.waiting(); }
  void settle();

  /// Tells the client that the guest has stopped or ended.
  void report_stop(u8 signal, bool breakpoint);
  void report_end(u8 status);

 private:
  explicit Debugger(Machine& machine) : machine_(machine), breakpoints_(machine.memory) {}
  void accept_client();
  void drop_client();
  void send(std::string_view bytes);
  PagingState paging() const;

  unsigned register_count() const override { return gdb::register_count(); }
  std::vector<u8> read_register(unsigned n) override;
  bool write_register(unsigned n, std::span<const u8> bytes) override;
  std::size_t read_memory(u64 from, std::span<u8> to) override;
  std::size_t write_memory(u64 to, std::span<const u8> from) override;
  bool insert_breakpoint(u64 address) override;
  bool remove_breakpoint(u64 address) override;
  /// Breakpoints need #BP to exit.
  void update_intercept();

  Machine& machine_;
  Breakpoints breakpoints_;
  std::string path_;
  Descriptor listener_, client_;
  std::unique_ptr<Stub> stub_;
  bool killed_ = false;
};

/// Signals as GDB numbers them.
inline constexpr u8 signal_trap = 5, signal_segv = 11;

}  // namespace cloister::hypervisor::gdb
