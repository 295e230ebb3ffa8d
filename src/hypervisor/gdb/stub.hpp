// The commands of GDB's remote serial protocol ("Debugging with GDB", appendix E.2 to E.4) for a target with one
// thread. Bytes in, bytes out; what they act on is a Target.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hypervisor/gdb/packet.hpp"

namespace cloister::hypervisor::gdb {

/// What a debugger looks at and changes. Addresses are linear.
class Target {
 public:
  virtual ~Target() = default;
  virtual unsigned register_count() const = 0;
  virtual std::vector<u8> read_register(unsigned n) = 0;
  virtual bool write_register(unsigned n, std::span<const u8> bytes) = 0;
  /// Bytes done before the first that is not there.
  virtual std::size_t read_memory(u64 from, std::span<u8> to) = 0;
  virtual std::size_t write_memory(u64 to, std::span<const u8> from) = 0;
  virtual bool insert_breakpoint(u64 address) = 0;
  virtual bool remove_breakpoint(u64 address) = 0;
};

enum class RunState : u8 { stopped, running, stepping, detached, killed };

class Stub {
 public:
  Stub(Target& target, const std::string& description) : target_(target), description_(description) {}

  RunState state() const { return state_; }
  /// Handles what GDB sent; the answer to send.
  std::string receive(std::string_view bytes);
  /// The guest has stopped: the notice to send. `breakpoint`: at one that was inserted.
  std::string stopped(u8 signal, bool breakpoint);
  /// The guest has ended.
  std::string ended(u8 status);

 private:
  std::string command(std::string_view packet);
  std::string query(std::string_view rest);
  std::string features(std::string_view rest) const;
  std::string stop_reply() const;
  std::string read_registers();
  std::string write_registers(std::string_view digits);
  std::string read_register(std::string_view rest);
  std::string write_register(std::string_view rest);
  std::string read_memory(std::string_view rest);
  std::string write_memory(std::string_view rest, bool binary);
  std::string breakpoint(std::string_view rest, bool insert);
  /// `c`, `s` and vCont's actions; no answer until the guest stops.
  std::string resume(RunState how, std::string_view address);

  Target& target_;
  const std::string& description_;
  PacketReader reader_;
  RunState state_ = RunState::stopped;
  bool acknowledge_ = true;     ///< until QStartNoAckMode
  bool knows_swbreak_ = false;  ///< GDB said so in qSupported
  u8 signal_ = 5;
  bool at_breakpoint_ = false;
  std::string last_;  ///< to send again after '-'
};

}  // namespace cloister::hypervisor::gdb
