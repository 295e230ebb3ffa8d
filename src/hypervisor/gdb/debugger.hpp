// A domain under GDB: the server on a listening socket, and the machine as the stub's target. One client at a time; the
// guest stops when it connects and goes on when it leaves.
//
// GDB sees one thread: the processor that stopped last. All processors stop with it, and while it steps the others
// wait.
#pragma once

#include <memory>
#include <string>

#include "host/fd.hpp"
#include "hypervisor/gdb/breakpoints.hpp"
#include "hypervisor/gdb/registers.hpp"
#include "hypervisor/gdb/stub.hpp"
#include "hypervisor/machine.hpp"

namespace cloister::hypervisor::gdb {

class Debugger final : public Target {
 public:
  /// listener: of RunOptions.
  Debugger(int listener, Machine& machine)
      : machine_(machine), processor_(&machine.bootstrap()), breakpoints_(machine.memory), listener_(listener) {}
  ~Debugger() override;

  /// What to wait on for input.
  int descriptor() const { return client_ ? client_.get() : listener_; }
  /// Takes a new client, or what the present one sent. Does not wait.
  void service();

  bool connected() const { return static_cast<bool>(client_); }
  bool stopped() const { return connected() && stub_->state() == RunState::stopped; }
  /// Whether this processor must not enter the guest now.
  bool holds(const Processor& processor) const { return stopped() || (stepping() && &processor != processor_); }
  /// Whether this processor is to run one instruction.
  bool steps(const Processor& processor) const { return stepping() && &processor == processor_; }
  bool stepping() const { return connected() && stub_->state() == RunState::stepping; }
  bool killed() const { return killed_; }

  /// Whether this processor is at a breakpoint of this debugger.
  bool at_breakpoint(const Processor& processor) const;
  /// Breakpoints wait for page tables: look again soon.
  bool waiting() const { return breakpoints_.waiting(); }
  void settle();
  /// Whether GDB looks at this processor.
  bool looks_at(const Processor& processor) const { return &processor == processor_; }

  /// Tells the client that the guest has stopped, at this processor, or ended.
  void report_stop(Processor& processor, u8 signal, bool breakpoint);
  void report_end(u8 status);

 private:
  /// Lets every processor look at what has changed.
  void notify_all();
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
  Processor* processor_;  ///< the one that GDB looks at
  Breakpoints breakpoints_;
  int listener_;
  Fd client_;
  std::unique_ptr<Stub> stub_;
  bool killed_ = false;
};

/// Signals as GDB numbers them.
inline constexpr u8 signal_trap = 5, signal_segv = 11;

}  // namespace cloister::hypervisor::gdb
