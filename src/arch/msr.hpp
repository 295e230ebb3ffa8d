// Model-specific registers by number (SDM vol. 4, table 2-2).
#pragma once

#include <array>

#include "arch/types.hpp"

namespace cloister::arch::msr {

inline constexpr u32 tsc = 0x10, platform_id = 0x17, apic_base = 0x1b, feature_control = 0x3a, tsc_adjust = 0x3b,
                     spec_ctrl = 0x48, pred_cmd = 0x49, bios_sign_id = 0x8b, sgxlepubkeyhash0 = 0x8c,
                     sgxlepubkeyhash3 = 0x8f, mtrrcap = 0xfe, arch_capabilities = 0x10a, flush_cmd = 0x10b,
                     sysenter_cs = 0x174, sysenter_esp = 0x175, sysenter_eip = 0x176, misc_enable = 0x1a0,
                     mtrr_physbase0 = 0x200, mtrr_physmask7 = 0x20f, mtrr_fix64k = 0x250, mtrr_fix16k_80000 = 0x258,
                     mtrr_fix16k_a0000 = 0x259, mtrr_fix4k_first = 0x268, mtrr_fix4k_last = 0x26f, pat = 0x277,
                     mtrr_def_type = 0x2ff, sgx_svn_status = 0x500, tsc_deadline = 0x6e0, x2apic_first = 0x800,
                     x2apic_last = 0x8ff, xss = 0xda0, efer = 0xc000'0080, star = 0xc000'0081, lstar = 0xc000'0082,
                     cstar = 0xc000'0083, fmask = 0xc000'0084, fs_base = 0xc000'0100, gs_base = 0xc000'0101,
                     kernel_gs_base = 0xc000'0102, tsc_aux = 0xc000'0103;

/// Bits of IA32_FEATURE_CONTROL (SDM vol. 3D, 37.7.1 and vol. 4).
namespace feature_control_bits {
inline constexpr u64 lock = 1u << 0, vmx_outside_smx = 1u << 2, sgx_launch_control = 1u << 17, sgx_enable = 1u << 18;
}

/// SHA-256 of Intel's launch key, the reset value of IA32_SGXLEPUBKEYHASH0-3.
inline constexpr std::array<u64, 4> intel_lepubkeyhash = {0xa6053e051270b7ac, 0x6cfbe8ba8b3b413d, 0xc4916d99f2b3735d,
                                                          0xd4f8c05909f9bb3b};

}  // namespace cloister::arch::msr
