// What a processor offers of SGX, as CPUID leaf 0x12 reports it and the leaves check it (SDM vol. 2A, CPUID, table 3-8;
// vol. 3D, 34.7). The default is everything that is implemented. CET in enclaves is not.
#pragma once

#include "arch/sgx.hpp"

namespace cloister::silicon {

struct SgxFeatures {
  bool sgx2 = true;       ///< EAUG, EMODPR, EMODT, EACCEPT, EMODPE, EACCEPTCOPY
  bool enclv = true;      ///< ENCLV: EDECVIRTCHILD, EINCVIRTCHILD, ESETCONTEXT
  bool oss = true;        ///< ERDINFO, ETRACKC, ELDBC, ELDUC
  bool edeccssa = true;   ///< ENCLU[EDECCSSA]
  bool exinfo = true;     ///< MISCSELECT.EXINFO
  bool kss = true;        ///< key separation and sharing: ATTRIBUTES.KSS
  bool aexnotify = true;  ///< ATTRIBUTES.AEXNOTIFY
  u8 epc_property = 1;    ///< of every EPC section: 1 confidentiality and integrity
  u8 log2_size_32 = 31;   ///< an enclave outside 64-bit mode is smaller than two to this
  u8 log2_size_64 = 36;   ///< and in 64-bit mode than this
  u64 xfrm = 3;           ///< XSAVE components that an enclave may have: x87, SSE

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

}  // namespace cloister::silicon
