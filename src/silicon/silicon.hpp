// The processor behind the door of vmx/: software silicon. Who is not part of it gets it from backend.hpp, as what the
// door says; these classes are for the silicon itself and its tests.
#pragma once

#include <memory>

#include "silicon/engine/engine_kind.hpp"
#include "silicon/sgx/epc/epc_memory.hpp"
#include "silicon/sgx/keys/machine_counters.hpp"
#include "silicon/state/names.hpp"

namespace cloister::silicon {

class MemoryImpl;
class PackageImpl;
class RootMover;
class VcpuImpl;

class GuestMemory final : public vmx::GuestMemory {
 public:
  GuestMemory();
  ~GuestMemory() override;

  tl::expected<void, MapError> map_ram(Gpa base, u64 bytes) override;
  tl::expected<void, MapError> map_epc(Gpa base, Mfn first, u64 pages) override;
  tl::expected<void, MapError> reserve_epc(Gpa base, u64 pages) override;
  tl::expected<void, MapError> map_epc(Gpa page, Mfn frame) override;
  std::optional<Mfn> unmap_epc(Gpa page) override;
  tl::expected<void, MapError> unmap(Gpa base, u64 bytes) override;
  void set_accessed_dirty(bool on) override;
  std::vector<bool> take_accessed(Gpa base, u64 pages) override;
  std::vector<bool> take_dirty(Gpa base, u64 pages) override;
  bool read(Gpa from, std::span<std::byte> to) const override;
  bool write(Gpa to, std::span<const std::byte> from) override;
  std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) override;
  std::vector<bool> written(Gpa base, u64 pages) const override;

  using Impl = MemoryImpl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

class Package final : public vmx::Package {
 public:
  explicit Package(Config config, EngineKind engine = EngineKind::interpreter);
  ~Package() override;
  EngineKind engine() const { return engine_; }

  vmx::Capabilities capabilities() const override;
  std::unique_ptr<vmx::GuestMemory> make_memory() override;
  std::unique_ptr<vmx::Vcpu> make_vcpu(vmx::GuestMemory& memory, vmx::Vcpu::Config config) override;
  CpuidRegs cpuid(u32 leaf, u32 subleaf) const override;
  /// The same of a package that would be made so.
  static CpuidRegs cpuid(const Config& config, u32 leaf, u32 subleaf);
  EnclsResult encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) override;
  EnclsResult enclv(arch::EnclvLeaf leaf, const vmx::LeafOperands& operands) override;
  EnclsResult ecreate(Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs, Gpa context) override;
  vmx::RootMover* root_mover() override;
  std::vector<EpcSection> used_epc() const override;
  tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> observe() const override;

  using Impl = PackageImpl;
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
  std::unique_ptr<RootMover> mover_;
  EngineKind engine_;
};

class Vcpu final : public vmx::Vcpu {
 public:
  /// The package, the memory and the time must outlive the processor.
  Vcpu(Package& package, GuestMemory& memory, Config config);
  ~Vcpu() override;

  Exit run(u64 budget) override;
  void kick() noexcept override;
  GeneralRegs general() const override;
  void set_general(const GeneralRegs& regs) override;
  SystemRegs system() const override;
  void set_system(const SystemRegs& regs) override;
  FxsaveImage fpu() const override;
  void set_fpu(const FxsaveImage& image) override;
  UpperHalves upper_halves() const override;
  void set_upper_halves(const UpperHalves& halves) override;
  void set_cpuid(std::span<const CpuidEntry> entries) override;
  std::optional<u64> read_msr(u32 index) const override;
  bool write_msr(u32 index, u64 value) override;
  bool set_xcr0(u64 value) override;
  void set_controls(const Controls& controls) override;
  void inject(const Event& event) override;
  bool interruptible() const override;
  bool nmi_interruptible() const override;
  void clear_interrupt_shadow() override;
  vmx::Interruptibility interruptibility() const override;
  void set_interruptibility(const vmx::Interruptibility& state) override;
  u64 tsc() const override;
  void skip_to(u64 tsc) override;
  u64 drawn() const override;
  void set_drawn(u64 numbers) override;
  u64 instructions() const override;
  vmx::Execution execution() const override;
  std::vector<Unimplemented> unimplemented() const override;
  void set_encls_observer(std::function<void(u32 leaf, u64 rcx, EnclsResult)> observer) override;

  using Impl = VcpuImpl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
