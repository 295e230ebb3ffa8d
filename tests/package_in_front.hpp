// A package in front of another one, to which it passes everything on. A test's own overrides what it is to see or
// change.
#pragma once

#include <memory>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::tests {

class PackageInFront : public vmx::Package {
 public:
  /// `behind` outlives it.
  explicit PackageInFront(vmx::Package& behind) : behind_(behind) {}

  vmx::Capabilities capabilities() const override { return behind_.capabilities(); }
  std::unique_ptr<vmx::GuestMemory> make_memory() override { return behind_.make_memory(); }
  std::unique_ptr<vmx::Vcpu> make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) override {
    return behind_.make_vcpu(memory, config);
  }
  vmx::CpuidRegs cpuid(u32 leaf, u32 subleaf) const override { return behind_.cpuid(leaf, subleaf); }
  vmx::EnclsResult encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) override {
    return behind_.encls(leaf, operands);
  }
  vmx::EnclsResult enclv(arch::EnclvLeaf leaf, const vmx::LeafOperands& operands) override {
    return behind_.enclv(leaf, operands);
  }
  vmx::EnclsResult ecreate(arch::Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs,
                           arch::Gpa context) override {
    return behind_.ecreate(frame, secinfo, secs, context);
  }
  std::vector<vmx::EpcSection> used_epc() const override { return behind_.used_epc(); }
  tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, vmx::MemoryError> observe() const override {
    return behind_.observe();
  }

 protected:
  vmx::Package& behind_;
};

}  // namespace cloister::tests
