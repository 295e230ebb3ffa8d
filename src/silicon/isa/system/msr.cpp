// The MSRs that belong to the processor itself: system-call entry points, segment bases, EFER, PAT (SDM vol. 4, table
// 2-2).
#include "arch/msr.hpp"

#include "silicon/isa/system/control.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

namespace msr = arch::msr;

namespace {

/// MSRs that are a plain field; `canonical`: a value that is not raises #GP.
struct Plain {
  u32 index;
  u64 Cpu::*field;
  bool canonical;
  u64 writable;
};
constexpr u64 all = ~u64{0};
constexpr Plain plain[] = {
    {msr::sysenter_cs, &Cpu::sysenter_cs, false, 0xffff'ffff},
    {msr::sysenter_esp, &Cpu::sysenter_esp, true, all},
    {msr::sysenter_eip, &Cpu::sysenter_eip, true, all},
    {msr::star, &Cpu::star, false, all},
    {msr::lstar, &Cpu::lstar, true, all},
    {msr::cstar, &Cpu::cstar, true, all},
    {msr::fmask, &Cpu::fmask, false, 0xffff'ffff},
    {msr::kernel_gs_base, &Cpu::kernel_gs_base, true, all},
    {msr::tsc_aux, &Cpu::tsc_aux, false, 0xffff'ffff},
    {msr::tsc_adjust, &Cpu::tsc_adjust, false, all},
};

bool write_efer(Cpu& cpu, u64 value) {
  namespace e = arch::efer;
  constexpr u64 defined = e::sce | e::lme | e::lma | e::nxe;
  if ((value & ~defined) != 0) return false;
  const bool paging = (cpu.cr0 & arch::cr0::pg) != 0;
  if (paging && ((value ^ cpu.efer) & e::lme) != 0) return false;
  const bool nxe_changes = ((value ^ cpu.efer) & e::nxe) != 0;
  cpu.efer = (value & ~e::lma) | (cpu.efer & e::lma);
  update_mode(cpu);
  if (nxe_changes) cpu.mmu->flush_all();
  return true;
}

bool has_sgx(const Cpu& cpu) { return cpu.mmu->package().epc_pages() != 0; }

/// As firmware left it: locked, SGX on if there is EPC, launch control as the package's configuration says.
u64 feature_control(const Cpu& cpu) {
  namespace fc = msr::feature_control_bits;
  if (!has_sgx(cpu)) return fc::lock;
  const PackageImpl& package = cpu.mmu->package();
  const bool launch_control = package.launch_control() && package.config().launch_control_writable;
  return fc::lock | fc::sgx_enable | (launch_control ? fc::sgx_launch_control : 0);
}

/// IA32_SGXLEPUBKEYHASHn's n.
std::optional<unsigned> hash_number(u32 index) {
  if (index < msr::sgxlepubkeyhash0 || index > msr::sgxlepubkeyhash3) return std::nullopt;
  return index - msr::sgxlepubkeyhash0;
}

/// Memory types 0, 1, 4, 5, 6, 7 in each byte (SDM vol. 3A, table 12-10).
bool valid_pat(u64 value) {
  for (unsigned i = 0; i < 8; ++i) {
    const u64 type = (value >> (8 * i)) & 0xff;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

}  // namespace

std::optional<u64> read_msr(const Cpu& cpu, u32 index) {
  for (const Plain& p : plain) {
    if (p.index == index) return cpu.*p.field;
  }
  if (const auto hash = hash_number(index)) {
    // SDM vol. 4, table 2-2: there only with SGX_LC.
    const bool there = has_sgx(cpu) && cpu.mmu->package().launch_control();
    return there ? std::optional{cpu.lepubkeyhash[*hash]} : std::nullopt;
  }
  switch (index) {
    case msr::feature_control: return feature_control(cpu);
    case msr::sgx_svn_status: return has_sgx(cpu) ? std::optional<u64>{0} : std::nullopt;
    case msr::efer: return cpu.efer;
    case msr::pat: return cpu.pat;
    case msr::fs_base: return cpu.seg[arch::seg_fs].base;
    case msr::gs_base: return cpu.seg[arch::seg_gs].base;
    default: return std::nullopt;
  }
}

bool write_msr(Cpu& cpu, u32 index, u64 value) {
  for (const Plain& p : plain) {
    if (p.index != index) continue;
    if ((p.canonical && !is_canonical(value)) || (value & ~p.writable) != 0) return false;
    cpu.*p.field = value;
    return true;
  }
  const auto write_base = [&](arch::SegReg segment) {
    if (!is_canonical(value)) return false;
    cpu.seg[segment].base = value;
    update_mode(cpu);
    return true;
  };
  if (const auto hash = hash_number(index)) {
    if (!has_sgx(cpu) || (feature_control(cpu) & msr::feature_control_bits::sgx_launch_control) == 0) return false;
    cpu.lepubkeyhash[*hash] = value;
    return true;
  }
  switch (index) {
    case msr::efer: return write_efer(cpu, value);
    case msr::pat:
      if (!valid_pat(value)) return false;
      cpu.pat = value;
      return true;
    case msr::fs_base: return write_base(arch::seg_fs);
    case msr::gs_base: return write_base(arch::seg_gs);
    default: return false;
  }
}

}  // namespace cloister::silicon
