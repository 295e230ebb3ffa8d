// The operands of a leaf of ENCLS that the hypervisor runs for a guest: registers, addresses, and what lies there, as
// the leaf itself would find them at CPL 0, relative to DS (SDM vol. 3D, 38.3).
//
// A leaf's handler asks in the order of the leaf's own checks; the first that fails is its end, and what is asked for
// after that has no effect, and answers zeros. What a leaf reaches only after it has looked at the EPCM is asked for by
// `copy_in` and `destination`, which say what is wrong with it and end nothing.
#pragma once

#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {

/// A page of the guest's EPC that a linear address names.
struct EpcOperand {
  arch::Gpa page{};
  u64 linear = 0;
};

/// What is not EPC where EPC should be, and what the EPCM forbids.
Fault epc_fault(u64 linear, bool write = true);
inline constexpr Fault general_protection{arch::vector::gp, 0, 0};

class EnclsOperands {
 public:
  explicit EnclsOperands(Processor& processor);

  u64 value(arch::Gpr which) const { return general_.gpr[which]; }
  u64 at(arch::Gpr offset) const { return linear(general_.gpr[offset]); }
  u64 linear(u64 offset) const { return wide_ ? offset : static_cast<u32>(offset + ds().base); }

  /// #GP(0) unless the leaf may run at all: what ENCLS checks before its operands.
  void allowed();
  void require(bool good);
  void aligned(u64 address, u64 alignment);
  /// A page of EPC, whether it has a frame or not.
  EpcOperand epc(u64 address, bool write = true);
  /// The same if it is memory; nullopt: it is, and no EPC.
  std::optional<EpcOperand> epc_or_not(u64 address);
  /// Has the page brought, with a pager.
  void bring(const EpcOperand& page);
  EpcOperand brought(u64 address, bool write = true) {
    const EpcOperand page = epc(address, write);
    bring(page);
    return page;
  }
  /// A copy of what lies in one page.
  template <class T>
  T read(u64 address) {
    T copy{};
    if (!failed())
      if (auto fault = copy_in(address, std::as_writable_bytes(std::span(&copy, 1)))) end_ = *fault;
    return copy;
  }

  bool failed() const { return end_.has_value() || stop_.has_value(); }
  /// Of those that have failed.
  const std::optional<Fault>& fault() const { return end_; }
  const std::optional<Stop>& stop() const { return stop_; }

  /// Copies an operand that lies in one page. The fault that reading it is.
  std::optional<Fault> copy_in(u64 address, std::span<std::byte> to);
  /// Where an operand is that lies in one page and is to be written. Nothing changes, not even the guest's page tables.
  tl::expected<arch::Gpa, Fault> destination(u64 address, u64 bytes);
  /// Writes it there. Of EPC it is the abort page, and nothing happens.
  void store(u64 address, arch::Gpa to, std::span<const std::byte> bytes);

 private:
  const vmx::Segment& ds() const { return system_.seg[arch::seg_ds]; }
  bool canonical(u64 address) const;
  bool addressable(u64 address, u64 bytes, bool write) const;
  /// Something is there.
  bool is_memory(arch::Gpa address) const;

  Processor& processor_;
  Machine& machine_;
  const vmx::GeneralRegs general_;
  const vmx::SystemRegs system_;
  const bool wide_;
  LinearMemory memory_;
  std::optional<Fault> end_;
  std::optional<Stop> stop_;
};

}  // namespace cloister::hypervisor::exits
