// What a package offers, as plain values: what CPUID reports (SDM vol. 2A, CPUID, table 3-8; vol. 3D, 34.7) and the SGX
// leaves check. The default is everything that is implemented; what is asked for beyond that is not offered.
//
// Outside SGX a feature that is not offered is hidden in CPUID, and its instructions still run, as under a hypervisor
// that masks it. Timers, caches, topology and the sizes of addresses are always the processor's own.
#pragma once

#include <algorithm>
#include <string>

#include "arch/sgx.hpp"

namespace cloister::vmx {

/// SGX. CET in enclaves, EVERIFYREPORT2 and EUPDATESVN are not implemented.
struct SgxFeatures {
  bool sgx2 = true;       ///< EAUG, EMODPR, EMODT, EACCEPT, EMODPE, EACCEPTCOPY; RDTSC and RDTSCP in enclaves
  bool enclv = true;      ///< ENCLV: EDECVIRTCHILD, EINCVIRTCHILD, ESETCONTEXT
  bool oss = true;        ///< ERDINFO, ETRACKC, ELDBC, ELDUC
  bool edeccssa = true;   ///< ENCLU[EDECCSSA]
  bool exinfo = true;     ///< MISCSELECT.EXINFO
  bool kss = true;        ///< key separation and sharing: ATTRIBUTES.KSS
  bool aexnotify = true;  ///< ATTRIBUTES.AEXNOTIFY
  u8 epc_property = 1;    ///< of every EPC section: 1 confidentiality and integrity
  u8 log2_size_32 = 31;   ///< an enclave outside 64-bit mode is smaller than two to this
  u8 log2_size_64 = 47;   ///< and in 64-bit mode than this: half of the canonical addresses
  u64 xfrm = 3;           ///< XSAVE components that an enclave may have: x87, SSE
  bool operator==(const SgxFeatures&) const = default;

  /// CPUID 0x12.0 EAX.
  constexpr u32 capabilities() const {
    return 1u | (u32{sgx2} << 1) | (u32{enclv} << 5) | (u32{oss} << 6) | (u32{edeccssa} << 11);
  }
  /// CPUID 0x12.0 EBX: bits that SECS.MISCSELECT may have.
  constexpr u32 miscselect() const { return exinfo ? arch::miscselect::exinfo : 0; }
  /// CPUID 0x12.1: bits that ECREATE takes in SECS.ATTRIBUTES.
  constexpr u64 attributes() const {
    using namespace arch::attributes;
    return debug | mode64bit | provisionkey | einittokenkey | (this->kss ? arch::attributes::kss : 0) |
           (this->aexnotify ? arch::attributes::aexnotify : 0);
  }
};

/// What is asked for, as far as `limit` offers it. The sections' property is the asked one's.
constexpr SgxFeatures within(const SgxFeatures& limit, SgxFeatures asked) {
  asked.sgx2 &= limit.sgx2;
  asked.enclv &= limit.enclv;
  asked.oss &= limit.oss;
  asked.edeccssa &= limit.edeccssa;
  asked.exinfo &= limit.exinfo;
  asked.kss &= limit.kss;
  asked.aexnotify &= limit.aexnotify;
  asked.log2_size_32 = std::min(asked.log2_size_32, limit.log2_size_32);
  asked.log2_size_64 = std::min(asked.log2_size_64, limit.log2_size_64);
  asked.xfrm &= limit.xfrm;
  return asked;
}

/// What is asked for, as far as it is implemented.
constexpr SgxFeatures implemented(const SgxFeatures& asked) { return within(SgxFeatures{}, asked); }

/// A package. Words of feature bits have the names of the CPUID registers in which they stand.
struct Features {
  static constexpr u32 all = ~u32{0};

  /// CPUID 1 EAX. The default is family 6, model 0x6A, stepping 6: the server generation whose SGX this is.
  u32 signature = 0x606a6;
  std::string brand = "Cloister software processor with SGX @ 1.00GHz";  ///< at most 48 characters count
  u32 leaf1_ecx = all, leaf1_edx = all;
  u32 leaf7_ebx = all, leaf7_ecx = all, leaf7_edx = all;
  u32 xsave_eax = all;  ///< leaf 0xD, sub-leaf 1
  u32 extended_ecx = all, extended_edx = all;
  SgxFeatures sgx{};

  /// Leaf 7's SGX and SGX_LC.
  constexpr bool has_sgx() const { return (leaf7_ebx & (1u << 2)) != 0; }
  constexpr bool launch_control() const { return (leaf7_ecx & (1u << 30)) != 0; }
  bool operator==(const Features&) const = default;
};

/// What is asked for, as far as `limit` offers it. Model, name and the sections' property are the asked one's.
inline Features within(const Features& limit, Features asked) {
  asked.leaf1_ecx &= limit.leaf1_ecx;
  asked.leaf1_edx &= limit.leaf1_edx;
  asked.leaf7_ebx &= limit.leaf7_ebx;
  asked.leaf7_ecx &= limit.leaf7_ecx;
  asked.leaf7_edx &= limit.leaf7_edx;
  asked.xsave_eax &= limit.xsave_eax;
  asked.extended_ecx &= limit.extended_ecx;
  asked.extended_edx &= limit.extended_edx;
  asked.sgx = within(limit.sgx, asked.sgx);
  return asked;
}

}  // namespace cloister::vmx
