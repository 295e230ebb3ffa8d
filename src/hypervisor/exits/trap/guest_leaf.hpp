// A leaf of ENCLS in root mode with a guest's operands: pages of EPC by their guest-physical addresses, and copies of
// what lies in memory. It runs as if the processor were in the guest, so that its pages keep their frames, and the
// pager's book says what it has done before anybody evicts one of them.
#pragma once

#include "hypervisor/exits/leaf_end.hpp"

namespace cloister::hypervisor::exits {

/// Its pages have been brought.
struct GuestLeaf {
  explicit GuestLeaf(arch::EnclsLeaf leaf) : number(leaf) {}
  GuestLeaf(const GuestLeaf&) = delete;
  GuestLeaf& operator=(const GuestLeaf&) = delete;

  const arch::EnclsLeaf number;
  EpcOperand page{};                  ///< RCX
  std::optional<EpcOperand> version;  ///< RDX of EWB and ELD*
  std::optional<EpcOperand> secs;     ///< PAGEINFO.SECS: the page becomes its child
  vmx::PageinfoOperand pageinfo{};
  vmx::LeafOperands operands{};  ///< but for what is above
  /// What reading or writing the first operand is that cannot be, if the leaf gets there. It is given as nothing.
  std::optional<Fault> unreachable;

  // What `pageinfo` and `operands` point to.
  alignas(arch::page_size) std::array<std::byte, arch::page_size> contents;
  alignas(128) arch::Pcmd pcmd{};
  alignas(64) arch::Secinfo secinfo{};
  alignas(32) arch::Rdinfo rdinfo{};

  /// The page's contents in memory.
  void copy_contents(EnclsOperands& from, u64 address);
};

LeafEnd run(Processor& processor, GuestLeaf& leaf);

}  // namespace cloister::hypervisor::exits
