#include "silicon/backend.hpp"

#include "silicon/engine/engines.hpp"
#include "silicon/sgx/epc/discard.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

namespace {

class SoftwareSilicon final : public vmx::Backend {
 public:
  explicit SoftwareSilicon(EngineKind engine) : engine_(engine) {}

  void prepare() const override { prepare_engine(engine_); }
  CpuidRegs cpuid(const vmx::Package::Config& config, u32 leaf, u32 subleaf) const override {
    return Package::cpuid(config, leaf, subleaf);
  }
  std::unique_ptr<vmx::Package> make_package(vmx::Package::Config config) const override {
    return std::make_unique<Package>(std::move(config), engine_);
  }
  tl::expected<vmx::EpcMemory::Pointer, MemoryError> create_epc(u64 pages) const override {
    return EpcMemory::create(pages);
  }
  tl::expected<vmx::EpcMemory::Pointer, MemoryError> adopt_epc(int pages_descriptor, int epcm_descriptor,
                                                               u64 pages) const override {
    return EpcMemory::adopt(pages_descriptor, epcm_descriptor, pages);
  }
  bool discard_epc(const vmx::EpcMemory& memory, const vmx::EpcRow& row,
                   std::span<const vmx::EpcRow> kept) const override {
    return silicon::discard_epc(memory, row, kept);
  }
  u64 epc_beyond(const vmx::EpcMemory& memory, std::span<const vmx::EpcRow> pages) const override {
    return silicon::epc_beyond(memory, pages);
  }
  tl::expected<vmx::MachineCounters::Pointer, MemoryError> create_counters(u64 boot) const override {
    return MachineCounters::create(boot);
  }
  tl::expected<vmx::MachineCounters::Pointer, MemoryError> adopt_counters(int descriptor) const override {
    return MachineCounters::adopt(descriptor);
  }

 private:
  EngineKind engine_;
};

}  // namespace

const vmx::Backend& backend(EngineKind engine) {
  static const SoftwareSilicon interpreter(EngineKind::interpreter), checked(EngineKind::checked),
      compiler(EngineKind::compiler);
  switch (engine) {
    case EngineKind::interpreter: break;
    case EngineKind::checked: return checked;
    case EngineKind::compiler: return compiler;
  }
  return interpreter;
}

const vmx::Backend* find_backend(EngineKind engine) { return engine_available(engine) ? &backend(engine) : nullptr; }

}  // namespace cloister::silicon
