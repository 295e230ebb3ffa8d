// A package at the door: memory and processors are made, and root mode runs leaves on its EPC.
#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/epc/diagnostics.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/sgx/leaves/root.hpp"
#include "silicon/sgx/leaves/root_mover.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

Package::Package(Config config, EngineKind engine)
    : impl_(std::make_unique<Impl>(std::move(config))), mover_(std::make_unique<RootMover>(*impl_)), engine_(engine) {}
Package::~Package() = default;

vmx::Capabilities Package::capabilities() const {
  return {.deterministic_clock = true, .exact_budget = true, .epc_virtualization = true, .epc_paging = true};
}

std::unique_ptr<vmx::GuestMemory> Package::make_memory() { return std::make_unique<GuestMemory>(); }

std::unique_ptr<vmx::Vcpu> Package::make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) {
  // It is one of ours: make_memory() made it.
  return std::make_unique<Vcpu>(*this, static_cast<GuestMemory&>(memory), config);
}

EnclsResult Package::encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) {
  return root_encls(*impl_, leaf, operands);
}

EnclsResult Package::enclv(arch::EnclvLeaf leaf, const vmx::LeafOperands& operands) {
  return root_enclv(*impl_, leaf, operands);
}

EnclsResult Package::ecreate(Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs, Gpa context) {
  return root_ecreate(*impl_, frame, secinfo, secs, context);
}

vmx::RootMover* Package::root_mover() { return mover_.get(); }

tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> Package::observe() const {
  return diagnostics::on_heap(diagnostics::Observer::of(*impl_));
}

}  // namespace cloister::silicon
