// What a domain needs of its processors is asked before anything is made of them (vmx::Capabilities).
#include <gtest/gtest.h>

#include "guests.hpp"

namespace cloister::hypervisor {
namespace {

/// A package whose processors have no clock but the host's; a domain that is refused asks nothing else of it.
class HostsClockAlone final : public vmx::Package {
 public:
  vmx::Capabilities capabilities() const override { return {}; }
  std::unique_ptr<vmx::GuestMemory> make_memory() override { return unexpected(), nullptr; }
  std::unique_ptr<vmx::Vcpu> make_vcpu(vmx::GuestMemory&, vmx::Vcpu::Config) override { return unexpected(), nullptr; }
  vmx::CpuidRegs cpuid(u32, u32) const override { return unexpected(), vmx::CpuidRegs{}; }
  vmx::EnclsResult encls(arch::EnclsLeaf, const vmx::LeafOperands&) override {
    return unexpected(), vmx::EnclsResult{};
  }
  vmx::EnclsResult enclv(arch::EnclvLeaf, const vmx::LeafOperands&) override {
    return unexpected(), vmx::EnclsResult{};
  }
  vmx::EnclsResult ecreate(vmx::Mfn, const arch::Secinfo&, const arch::Secs&, vmx::Gpa) override {
    return unexpected(), vmx::EnclsResult{};
  }
  std::vector<vmx::EpcSection> used_epc() const override { return unexpected(), std::vector<vmx::EpcSection>{}; }
  tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, vmx::MemoryError> observe() const override {
    return unexpected(), tl::unexpected(vmx::MemoryError::no_memory);
  }

 private:
  static void unexpected() { ADD_FAILURE() << "it was asked for something"; }
};

TEST(Capabilities, ADeterministicClockIsNotTakenForGranted) {
  HostsClockAlone package;
  const auto domain = Domain::create(package, spec_of({}, vmx::ClockMode::deterministic), {});
  ASSERT_FALSE(domain);
  EXPECT_EQ(domain.error(), "these processors have no deterministic clock");
}

}  // namespace
}  // namespace cloister::hypervisor
