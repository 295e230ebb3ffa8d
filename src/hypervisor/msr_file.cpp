// The table. Rows are ordered by number; a row may need a CPUID bit. MTRRs are checked and kept but have no effect:
// all memory of a domain is write-back (SDM vol. 3A, 11.11). Launch-key hashes follow the access rules of SDM vol. 3D,
// 37.1.4: there with SGX1 and SGX_LC, writable if IA32_FEATURE_CONTROL is locked with launch control enabled.
#include "hypervisor/msr_file.hpp"

#include <algorithm>

#include "arch/msr.hpp"

namespace cloister::hypervisor {

using platform::InterruptMessage;
using policy::CpuidReg;
namespace msr = arch::msr;

namespace {

enum class Kind : u8 {
  silicon,    ///< the processor's own
  constant,   ///< reads `value`; a write raises #GP
  ignored,    ///< reads `value`; writes do nothing
  kept,       ///< reads back what was written, `value` at first; only bits in `mask` may change
  command,    ///< write-only: bits in `mask`
  mtrr,       ///< kept if valid
  tsc,        ///< the time stamp counter
  adjust,     ///< what the processor adds to the time to make it the counter
  features,   ///< IA32_FEATURE_CONTROL
  hash,       ///< IA32_SGXLEPUBKEYHASH
  apic_base,  ///< the local APIC's own three doors
  deadline,
  x2apic,
};

/// A CPUID bit, or `none`.
struct Need {
  u32 leaf = 0, subleaf = 0;
  CpuidReg reg = CpuidReg::eax;
  unsigned bit = 0;
  bool any = false;
};
constexpr Need none{};
constexpr Need needs(u32 leaf, u32 subleaf, CpuidReg reg, unsigned bit) { return {leaf, subleaf, reg, bit, true}; }

constexpr Need mtrr_bit = needs(1, 0, CpuidReg::edx, 12), mca_bit = needs(1, 0, CpuidReg::edx, 14),
               deadline_bit = needs(1, 0, CpuidReg::ecx, 24), adjust_bit = needs(7, 0, CpuidReg::ebx, 1),
               ibrs_bit = needs(7, 0, CpuidReg::edx, 26), l1d_bit = needs(7, 0, CpuidReg::edx, 28),
               capabilities_bit = needs(7, 0, CpuidReg::edx, 29), xsaves_bit = needs(0xd, 1, CpuidReg::eax, 3),
               sgx_bit = needs(7, 0, CpuidReg::ebx, 2), launch_control_bit = needs(7, 0, CpuidReg::ecx, 30);

constexpr u64 write_back = 6;
constexpr u64 mtrr_count = 8;
constexpr u64 mtrrcap_value = mtrr_count | (1u << 8) | (1u << 10);  // fixed ranges, write-combining
constexpr u64 mtrr_enable = 1u << 11, mtrr_fixed_enable = 1u << 10;
/// Branch trace and PEBS are not available; fast strings are, and may be switched off.
constexpr u64 misc_enable_value = 1u << 0 | 1u << 11 | 1u << 12, misc_enable_mask = 1u << 0;
/// RDCL_NO, SKIP_L1DFL_VMENTRY, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO: nothing here runs
/// ahead of the program.
constexpr u64 arch_capabilities_value =
    1u << 0 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 13 | 1u << 14 | 1u << 15;
/// The revision in the upper half; so high that no list of faulty microcode applies.
constexpr u64 microcode_value = 0xffff'ffff'0000'0000;
/// Base clock 1 GHz as a multiple of 100 MHz.
constexpr u64 platform_info_value = 10u << 8;

bool valid_type(u64 type) { return type == 0 || type == 1 || type == 4 || type == 5 || type == 6; }

}  // namespace

struct MsrFile::Row {
  u32 first, last;
  Kind kind;
  u64 value = 0, mask = 0;
  Need need = none;
};

struct MsrFile::Table {
  static constexpr Row rows[] = {
      {msr::tsc, msr::tsc, Kind::tsc},
      {msr::platform_id, msr::platform_id, Kind::constant},
      {msr::apic_base, msr::apic_base, Kind::apic_base},
      {msr::feature_control, msr::feature_control, Kind::features},
      {msr::tsc_adjust, msr::tsc_adjust, Kind::adjust, 0, 0, adjust_bit},
      {msr::spec_ctrl, msr::spec_ctrl, Kind::kept, 0, 7, ibrs_bit},
      {msr::pred_cmd, msr::pred_cmd, Kind::command, 0, 1, ibrs_bit},
      {0x79, 0x79, Kind::command, 0, ~u64{0}},  // IA32_BIOS_UPDT_TRIG: an update that changes nothing
      {msr::bios_sign_id, msr::bios_sign_id, Kind::ignored, microcode_value},
      {msr::sgxlepubkeyhash0, msr::sgxlepubkeyhash3, Kind::hash, 0, 0, launch_control_bit},
      {0xce, 0xce, Kind::constant, platform_info_value},  // MSR_PLATFORM_INFO
      {msr::mtrrcap, msr::mtrrcap, Kind::constant, mtrrcap_value, 0, mtrr_bit},
      {msr::arch_capabilities, msr::arch_capabilities, Kind::constant, arch_capabilities_value, 0, capabilities_bit},
      {msr::flush_cmd, msr::flush_cmd, Kind::command, 0, 1, l1d_bit},
      {0x140, 0x140, Kind::kept},  // MSR_MISC_FEATURES_ENABLES: no bit of it is offered
      {msr::sysenter_cs, msr::sysenter_eip, Kind::silicon},
      {0x179, 0x179, Kind::constant, 0, 0, mca_bit},  // IA32_MCG_CAP: no banks
      {0x17a, 0x17a, Kind::kept, 0, 7, mca_bit},      // IA32_MCG_STATUS
      {msr::misc_enable, msr::misc_enable, Kind::kept, misc_enable_value, misc_enable_mask},
      {msr::mtrr_physbase0, msr::mtrr_physmask7, Kind::mtrr, 0, 0, mtrr_bit},
      {msr::mtrr_fix64k, msr::mtrr_fix64k, Kind::mtrr, 0x0606'0606'0606'0606, 0, mtrr_bit},
      {msr::mtrr_fix16k_80000, msr::mtrr_fix16k_a0000, Kind::mtrr, 0x0606'0606'0606'0606, 0, mtrr_bit},
      {msr::mtrr_fix4k_first, msr::mtrr_fix4k_last, Kind::mtrr, 0x0606'0606'0606'0606, 0, mtrr_bit},
      {msr::pat, msr::pat, Kind::silicon},
      {msr::mtrr_def_type, msr::mtrr_def_type, Kind::mtrr, mtrr_enable | mtrr_fixed_enable | write_back, 0, mtrr_bit},
      {msr::sgx_svn_status, msr::sgx_svn_status, Kind::silicon, 0, 0, sgx_bit},
      {msr::tsc_deadline, msr::tsc_deadline, Kind::deadline, 0, 0, deadline_bit},
      {msr::x2apic_first, msr::x2apic_last, Kind::x2apic},
      {msr::xss, msr::xss, Kind::kept, 0, 0, xsaves_bit},
      {msr::efer, msr::fmask, Kind::silicon},
      {msr::fs_base, msr::tsc_aux, Kind::silicon},
  };
};

namespace {

u64 tsc_adjust(MsrHost& host) { return host.read_silicon(msr::tsc_adjust).value_or(0); }

// IA32_TSC_DEADLINE is compared with the counter, the APIC's timer with the time.
u64 deadline(MsrHost& host) {
  const u64 at = host.apic().tsc_deadline();
  return at == 0 ? 0 : at + tsc_adjust(host);
}

void set_deadline(u64 value, MsrHost& host) {
  const u64 adjust = tsc_adjust(host), at = value - adjust;
  const bool before_time = adjust <= value ? at == 0 : static_cast<i64>(adjust) > 0;
  host.apic().set_tsc_deadline(value == 0 ? 0 : before_time ? 1 : at, host.now());
}

bool adjust_tsc(u64 adjust, MsrHost& host) {
  const u64 armed = deadline(host);
  if (!host.write_silicon(msr::tsc_adjust, adjust)) return false;
  set_deadline(armed, host);
  return true;
}

}  // namespace

MsrFile::MsrFile(const policy::CpuidTable& cpuid, const policy::MsrPolicy& policy, unsigned physical_bits)
    : cpuid_(cpuid), policy_(policy), physical_bits_(physical_bits) {}

std::vector<u32> MsrFile::passthrough() {
  return {msr::sysenter_cs, msr::sysenter_esp,   msr::sysenter_eip, msr::pat,   msr::efer,
          msr::star,        msr::lstar,          msr::cstar,        msr::fmask, msr::fs_base,
          msr::gs_base,     msr::kernel_gs_base, msr::tsc_aux};
}

std::vector<u32> MsrFile::in_silicon() {
  std::vector<u32> all;
  for (const Row& row : Table::rows) {
    if (row.kind != Kind::silicon && row.kind != Kind::adjust && row.kind != Kind::hash) continue;
    for (u32 index = row.first; index <= row.last; ++index) {
      if (index != msr::efer && index != msr::fs_base && index != msr::gs_base) all.push_back(index);
    }
  }
  return all;
}

std::optional<u32> MsrFile::set_written(const std::map<u32, u64>& values) {
  for (const auto& [index, value] : values) {
    const Row* const row = find(index);
    if (row == nullptr || (row->kind != Kind::kept && row->kind != Kind::mtrr)) return index;
  }
  stored_ = values;
  return std::nullopt;
}

const MsrFile::Row* MsrFile::find(u32 index) const {
  const auto row = std::find_if(std::begin(Table::rows), std::end(Table::rows),
                                [&](const Row& r) { return index >= r.first && index <= r.last; });
  if (row == std::end(Table::rows)) return nullptr;
  const Need& need = row->need;
  if (need.any && ((value_of(cpuid_.get(need.leaf, need.subleaf), need.reg) >> need.bit) & 1) == 0) return nullptr;
  return row;
}

std::optional<u64> MsrFile::read(u32 index, MsrHost& host) const {
  const Row* row = find(index);
  if (row == nullptr) return std::nullopt;
  switch (row->kind) {
    case Kind::silicon:
    case Kind::adjust: return host.read_silicon(index);
    case Kind::constant:
    case Kind::ignored: return row->value;
    case Kind::kept:
    case Kind::mtrr: {
      const auto value = stored_.find(index);
      return value == stored_.end() ? row->value : value->second;
    }
    case Kind::command: return std::nullopt;
    case Kind::tsc: return host.now() + tsc_adjust(host);
    case Kind::features: return policy_.feature_control();
    case Kind::hash: return policy_.sgx ? host.read_silicon(index) : std::nullopt;
    case Kind::apic_base: return host.apic().base_msr();
    case Kind::deadline: return deadline(host);
    case Kind::x2apic: return host.apic().x2apic() ? host.apic().read_msr(index, host.now()) : std::nullopt;
  }
  return std::nullopt;
}

bool MsrFile::write(u32 index, u64 value, MsrHost& host) {
  const Row* row = find(index);
  if (row == nullptr) return false;
  switch (row->kind) {
    case Kind::silicon: return host.write_silicon(index, value);
    case Kind::tsc: return adjust_tsc(value - host.now(), host);
    case Kind::adjust: return adjust_tsc(value, host);
    case Kind::constant: return false;
    case Kind::ignored: return true;
    case Kind::kept: {
      const auto old = stored_.find(index);
      const u64 before = old == stored_.end() ? row->value : old->second;
      if (((value ^ before) & ~row->mask) != 0) return false;
      stored_[index] = value;
      return true;
    }
    case Kind::command: return (value & ~row->mask) == 0;
    case Kind::mtrr: {
      if (!valid_mtrr(index, value)) return false;
      stored_[index] = value;
      return true;
    }
    case Kind::features: return false;  // the policy's value is always locked
    case Kind::hash:
      return policy_.sgx && policy_.launch_control && policy_.lepubkeyhash_writable && host.write_silicon(index, value);
    case Kind::apic_base: return host.apic().set_base_msr(value);
    case Kind::deadline: set_deadline(value, host); return true;
    case Kind::x2apic: {
      std::optional<InterruptMessage> sent;
      if (!host.apic().x2apic() || !host.apic().write_msr(index, value, host.now(), sent)) return false;
      host.apic_written(sent);
      return true;
    }
  }
  return false;
}

/// SDM vol. 3A, 11.11.2: reserved types, reserved bits and addresses beyond the processor's raise #GP.
bool MsrFile::valid_mtrr(u32 index, u64 value) const {
  const u64 beyond = ~((u64{1} << physical_bits_) - 1);
  if (index == msr::mtrr_def_type)
    return valid_type(value & 0xff) && (value & ~(u64{0xff} | mtrr_enable | mtrr_fixed_enable)) == 0;
  if (index >= msr::mtrr_physbase0 && index <= msr::mtrr_physmask7) {
    const bool is_mask = (index & 1) != 0;
    if (is_mask) return (value & (beyond | 0x7ff)) == 0;
    return valid_type(value & 0xff) && (value & (beyond | 0xf00)) == 0;
  }
  for (unsigned i = 0; i < 8; ++i)
    if (!valid_type((value >> (8 * i)) & 0xff)) return false;
  return true;
}

}  // namespace cloister::hypervisor
