// A processor with paging, RAM and EPC, and the benchmarks' enclave on it: real instructions, through run() alone.
#pragma once

#include <string>

#include "arch/sgx.hpp"
#include "silicon/silicon.hpp"

namespace cloister::bench {

/// The bytes that the enclave's MRENCLAVE is the SHA-256 of: every block of ECREATE, EADD and EEXTEND with its data.
const std::vector<u8>& measured_bytes();
/// Signed with a key made for the occasion.
const arch::Sigstruct& sigstruct();

class Machine {
 public:
  /// The pages that page() moves: as many as a version array has slots.
  static constexpr u64 paged = 512;

  Machine();

  // Each ends the program with a message if the guest's code does not come to its end or a leaf returns an error.
  void build();
  void remove();
  void block();
  void page();
  /// Entries and exits; the last one with so many rounds of work in between.
  void enter(u64 times, u64 rounds);
  void work_outside(u64 rounds);

  u64 instructions() const { return vcpu_.instructions(); }

 private:
  struct Registers;
  silicon::GeneralRegs run(const char* what, u64 rip, u8 cpl, const Registers& registers);
  void write(u64 at, std::span<const u8> bytes);
  template <class T>
  void put(u64 at, const T& value) {
    write(at, {reinterpret_cast<const u8*>(&value), sizeof value});
  }
  void make_page_tables();
  void map(u64 linear, u64 physical);

  silicon::Package package_;
  silicon::GuestMemory memory_;
  silicon::Vcpu vcpu_;
  u64 next_table_;
};

}  // namespace cloister::bench
