// What a package offers, as plain values: what CPUID reports (SDM vol. 2A, CPUID, table 3-8; vol. 3D, 34.7) and the SGX
// leaves check. The default is everything that is implemented; what is asked for beyond that is not offered.
//
// Outside SGX a feature that is not offered is hidden in CPUID, and its instructions still run, as under a hypervisor
// that masks it. Timers, caches, topology and the sizes of addresses are always the processor's own.
#pragma once

#include <algorithm>
#include <string>

#include "arch/cpuid.hpp"
#include "arch/sgx.hpp"

namespace cloister::vmx {

/// SGX. CET in enclaves and EVERIFYREPORT2 are not implemented.
struct SgxFeatures {
  bool sgx2 = true;        ///< EAUG, EMODPR, EMODT, EACCEPT, EMODPE, EACCEPTCOPY; RDTSC and RDTSCP in enclaves
  bool enclv = true;       ///< ENCLV: EDECVIRTCHILD, EINCVIRTCHILD, ESETCONTEXT
  bool oss = true;         ///< ERDINFO, ETRACKC, ELDBC, ELDUC
  bool eupdatesvn = true;  ///< ENCLS[EUPDATESVN]
  bool edeccssa = true;    ///< ENCLU[EDECCSSA]
  bool exinfo = true;      ///< MISCSELECT.EXINFO
  bool kss = true;         ///< key separation and sharing: ATTRIBUTES.KSS
  bool aexnotify = true;   ///< ATTRIBUTES.AEXNOTIFY
  u8 epc_property = 1;     ///< of every EPC section: 1 confidentiality and integrity
  u8 log2_size_32 = 31;    ///< an enclave outside 64-bit mode is smaller than two to this
  u8 log2_size_64 = 47;    ///< and in 64-bit mode than this: half of the canonical addresses
  u64 xfrm = 7;            ///< XSAVE components that an enclave may have: x87, SSE, AVX
  bool operator==(const SgxFeatures&) const = default;

  /// The flags that a register of leaf 0x12 reports.
  constexpr u32 flags(u32 subleaf, arch::CpuidReg reg) const;

  /// CPUID 0x12.0 EAX.
  constexpr u32 capabilities() const { return 1u /*SGX1*/ | flags(0, arch::CpuidReg::eax); }
  /// CPUID 0x12.0 EBX: bits that SECS.MISCSELECT may have.
  constexpr u32 miscselect() const { return flags(0, arch::CpuidReg::ebx); }
  /// CPUID 0x12.1: bits that ECREATE takes in SECS.ATTRIBUTES.
  constexpr u64 attributes() const {
    using namespace arch::attributes;
    return debug | mode64bit | provisionkey | einittokenkey | flags(1, arch::CpuidReg::eax);
  }
};

/// A flag of SGX. Whoever reports, records, reads or narrows flags walks their rows, so that a new flag is a row.
struct SgxFlagRow {
  const char* name;  ///< in records
  bool SgxFeatures::*flag;
  arch::CpuidBit bit;  ///< that reports it
  u64 encls, enclu;    ///< leaves that it brings: bit n is leaf n
};

template <class... Leaf>
constexpr u64 leaf_bits(Leaf... leaf) {
  return ((u64{1} << static_cast<u32>(leaf)) | ...);
}

inline constexpr SgxFlagRow sgx_flag_rows[] = {
    {"sgx2",
     &SgxFeatures::sgx2,
     {arch::leaf::sgx, 0, arch::CpuidReg::eax, 1},
     leaf_bits(arch::EnclsLeaf::eaug, arch::EnclsLeaf::emodpr, arch::EnclsLeaf::emodt),
     leaf_bits(arch::EncluLeaf::eaccept, arch::EncluLeaf::emodpe, arch::EncluLeaf::eacceptcopy)},
    {"enclv", &SgxFeatures::enclv, {arch::leaf::sgx, 0, arch::CpuidReg::eax, 5}, 0, 0},
    {"oss",
     &SgxFeatures::oss,
     {arch::leaf::sgx, 0, arch::CpuidReg::eax, 6},
     leaf_bits(arch::EnclsLeaf::erdinfo, arch::EnclsLeaf::etrackc, arch::EnclsLeaf::eldbc, arch::EnclsLeaf::elduc),
     0},
    {"eupdatesvn",
     &SgxFeatures::eupdatesvn,
     {arch::leaf::sgx, 0, arch::CpuidReg::eax, 10},
     leaf_bits(arch::EnclsLeaf::eupdatesvn),
     0},
    {"edeccssa",
     &SgxFeatures::edeccssa,
     {arch::leaf::sgx, 0, arch::CpuidReg::eax, 11},
     0,
     leaf_bits(arch::EncluLeaf::edeccssa)},
    {"exinfo", &SgxFeatures::exinfo, {arch::leaf::sgx, 0, arch::CpuidReg::ebx, 0}, 0, 0},
    {"kss", &SgxFeatures::kss, {arch::leaf::sgx, 1, arch::CpuidReg::eax, 7}, 0, 0},
    {"aexnotify", &SgxFeatures::aexnotify, {arch::leaf::sgx, 1, arch::CpuidReg::eax, 10}, 0, 0},
};

constexpr u32 SgxFeatures::flags(u32 subleaf, arch::CpuidReg reg) const {
  u32 word = 0;
  for (const SgxFlagRow& row : sgx_flag_rows) {
    if (row.bit.subleaf == subleaf && row.bit.reg == reg && this->*row.flag) word |= 1u << row.bit.bit;
  }
  return word;
}

/// CPUID 0x12.0 EAX lists all that a hypervisor pages EPC with unseen: the leaves of OSS, and ENCLV.
constexpr bool lists_oss(u32 sgx_eax) {
  u32 both = 0;
  for (const SgxFlagRow& row : sgx_flag_rows) {
    if (row.flag == &SgxFeatures::oss || row.flag == &SgxFeatures::enclv) both |= 1u << row.bit.bit;
  }
  return (sgx_eax & both) == both;
}

/// What is asked for, as far as `limit` offers it. The sections' property is the asked one's.
constexpr SgxFeatures within(const SgxFeatures& limit, SgxFeatures asked) {
  for (const SgxFlagRow& row : sgx_flag_rows) asked.*row.flag = asked.*row.flag && limit.*row.flag;
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

/// A word of feature bits outside SGX's leaf, walked as SGX's flags are.
struct FeatureWordRow {
  const char* name;  ///< in records
  u32 Features::*word;
  u32 leaf, subleaf;
  arch::CpuidReg reg;
};
inline constexpr FeatureWordRow feature_word_rows[] = {
    {"leaf1_ecx", &Features::leaf1_ecx, arch::leaf::version, 0, arch::CpuidReg::ecx},
    {"leaf1_edx", &Features::leaf1_edx, arch::leaf::version, 0, arch::CpuidReg::edx},
    {"leaf7_ebx", &Features::leaf7_ebx, arch::leaf::features, 0, arch::CpuidReg::ebx},
    {"leaf7_ecx", &Features::leaf7_ecx, arch::leaf::features, 0, arch::CpuidReg::ecx},
    {"leaf7_edx", &Features::leaf7_edx, arch::leaf::features, 0, arch::CpuidReg::edx},
    {"xsave_eax", &Features::xsave_eax, arch::leaf::xsave, 1, arch::CpuidReg::eax},
    {"extended_ecx", &Features::extended_ecx, arch::leaf::extended_features, 0, arch::CpuidReg::ecx},
    {"extended_edx", &Features::extended_edx, arch::leaf::extended_features, 0, arch::CpuidReg::edx},
};

/// What is asked for, as far as `limit` offers it. Model, name and the sections' property are the asked one's.
inline Features within(const Features& limit, Features asked) {
  for (const FeatureWordRow& row : feature_word_rows) asked.*row.word &= limit.*row.word;
  asked.sgx = within(limit.sgx, asked.sgx);
  return asked;
}

}  // namespace cloister::vmx
