#include "silicon/backend.hpp"

#include "silicon/diagnostics.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

namespace {

using ObserverResult = tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError>;

ObserverResult on_heap(tl::expected<diagnostics::Observer, MemoryError> observer) {
  if (!observer) return tl::unexpected(observer.error());
  return std::make_unique<diagnostics::Observer>(std::move(*observer));
}

class SoftwareSilicon final : public vmx::Backend {
 public:
  CpuidRegs cpuid(const vmx::Package::Config& config, u32 leaf, u32 subleaf) const override {
    return Package::cpuid(config, leaf, subleaf);
  }
  std::unique_ptr<vmx::Package> make_package(vmx::Package::Config config) const override {
    return std::make_unique<Package>(std::move(config));
  }
  tl::expected<vmx::EpcMemory::Pointer, MemoryError> create_epc(u64 pages) const override {
    return EpcMemory::create(pages);
  }
  tl::expected<vmx::EpcMemory::Pointer, MemoryError> adopt_epc(int pages_descriptor, int epcm_descriptor,
                                                               u64 pages) const override {
    return EpcMemory::adopt(pages_descriptor, epcm_descriptor, pages);
  }
  tl::expected<vmx::MachineCounters::Pointer, MemoryError> create_counters(u64 boot) const override {
    return MachineCounters::create(boot);
  }
  tl::expected<vmx::MachineCounters::Pointer, MemoryError> adopt_counters(int descriptor) const override {
    return MachineCounters::adopt(descriptor);
  }
};

}  // namespace

const vmx::Backend& backend() {
  static const SoftwareSilicon silicon;
  return silicon;
}

vmx::Capabilities Package::capabilities() const {
  return {.deterministic_clock = true, .exact_budget = true, .epc_virtualization = true};
}

std::unique_ptr<vmx::GuestMemory> Package::make_memory() { return std::make_unique<GuestMemory>(); }

std::unique_ptr<vmx::Vcpu> Package::make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) {
  // It is one of ours: make_memory() made it.
  return std::make_unique<Vcpu>(*this, static_cast<GuestMemory&>(memory), config);
}

ObserverResult EpcMemory::observe() const { return on_heap(diagnostics::Observer::open(epcm_descriptor())); }
ObserverResult Package::observe() const { return on_heap(diagnostics::Observer::of(*this)); }

}  // namespace cloister::silicon
