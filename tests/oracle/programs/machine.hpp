// A processor in user mode with the oracle's sandbox (oracle/cpu/state.hpp) in its memory, at the door alone: whatever
// its code does ends in an exit, after which the caller says where it goes on.
#pragma once

#include <memory>
#include <span>

#include "oracle/cpu/state.hpp"
#include "payload/lockstep/sights.hpp"
#include "vmx/backend.hpp"

namespace cloister::programs {

namespace sandbox = oracle::sandbox;

/// What a page of the data may be.
enum class Access : u8 { none, read, write };

class Machine {
 public:
  explicit Machine(const vmx::Backend& backend);

  /// As it was made, with these registers, and pages of the data that may be so accessed.
  void reset(const vmx::GeneralRegs& general, const vmx::FxsaveImage& fpu, std::span<const Access> data,
             bool writes_code);
  void write(u64 linear, std::span<const std::byte> bytes);
  /// All of the sandbox.
  u64 memory_hash();

  /// Runs so many instructions at most; what is then to be seen, and why it stopped.
  lockstep::Sight run(u64 budget, vmx::ExitReason& reason);
  vmx::GeneralRegs general() const { return vcpu_->general(); }
  /// At `rip`, in user mode and without what a single step would leave.
  void go_on(u64 rip);

 private:
  void map(u64 linear, Access access);
  template <class T>
  void put(u64 at, const T& value) {
    memory_->write(arch::Gpa{at}, std::as_bytes(std::span(&value, 1)));
  }

  std::unique_ptr<vmx::Package> package_;
  std::unique_ptr<vmx::GuestMemory> memory_;
  std::unique_ptr<vmx::Vcpu> vcpu_;
  vmx::SystemRegs first_;
};

}  // namespace cloister::programs
