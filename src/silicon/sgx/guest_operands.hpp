// Operands of a leaf that a processor executes: linear addresses of its guest (SDM vol. 3D, 36.5).
#pragma once

#include "silicon/sgx/operands.hpp"

namespace cloister::silicon {

/// Canonical in 64-bit mode; in DS otherwise, which is of a type that allows the access.
bool addressable(const Cpu& cpu, u64 linear, unsigned bytes, Access access);

class GuestOperands final : public OperandSource {
 public:
  explicit GuestOperands(Cpu& cpu) : cpu_(cpu) {}

  u64 reg(arch::Gpr which) const override { return cpu_.gpr[which]; }
  u64 linear(u64 offset) const override {
    return cpu_.code64 ? offset : static_cast<u32>(offset + cpu_.seg_base[arch::seg_ds]);
  }
  bool canonical(u64 linear) const override;
  tl::expected<Page, Miss> page(u64 linear, Access access) override;
  tl::expected<void, Miss> read(u64 linear, void* to, unsigned bytes) override;
  tl::expected<void, Miss> write(u64 linear, const void* from, unsigned bytes) override;
  bool user() const override { return cpu_.cpl == 3; }
  bool epc_virtualization() const override { return cpu_.vcpu->controls().epc_virtualization; }
  bool root() const override { return false; }

 private:
  Cpu& cpu_;
};

}  // namespace cloister::silicon
