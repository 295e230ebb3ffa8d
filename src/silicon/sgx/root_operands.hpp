// Operands of a leaf that root mode runs. Its linear addresses are ours: frames lie one after the other in the upper
// half, and the caller's memory where it is. Nothing else is there, so that a leaf reaches only what it was given.
#pragma once

#include <array>

#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/sgx/operands.hpp"
#include "vmx/leaf_operands.hpp"

namespace cloister::silicon {

class RootOperands final : public OperandSource {
 public:
  /// Both outlive it.
  RootOperands(const PackageImpl& package, const vmx::LeafOperands& operands);
  RootOperands(const RootOperands&) = delete;
  RootOperands& operator=(const RootOperands&) = delete;

  u64 reg(arch::Gpr which) const override;
  u64 linear(u64 offset) const override { return offset; }
  bool canonical(u64) const override { return true; }
  tl::expected<Page, Miss> page(u64 linear, Access access) override;
  tl::expected<void, Miss> read(u64 linear, void* to, unsigned bytes) override;
  tl::expected<void, Miss> write(u64 linear, const void* from, unsigned bytes) override;
  bool user() const override { return false; }
  bool epc_virtualization() const override { return false; }
  bool root() const override { return true; }

  /// The frame that an address is in; nullopt: it is memory's.
  static std::optional<Mfn> frame_at(u64 linear);
  /// What EWB has stored in PAGEINFO becomes the caller's.
  void give_back() const;

 private:
  struct Memory {
    u64 at = 0, bytes = 0;
    bool writable = false;
  };
  bool given(u64 linear, unsigned bytes, bool to_write) const;

  const PackageImpl& package_;
  const vmx::LeafOperands& operands_;
  alignas(32) arch::Pageinfo pageinfo_{};
  std::array<Memory, 6> memory_{};
};

}  // namespace cloister::silicon
