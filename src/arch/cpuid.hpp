// CPUID: the registers of one leaf, and the leaves and bits that Cloister names (SDM vol. 2A, CPUID, table 3-8).
#pragma once

#include <compare>

#include "arch/types.hpp"

namespace cloister::arch {

/// What CPUID returns for one leaf and sub-leaf.
struct CpuidRegs {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr bool operator==(const CpuidRegs&) const = default;
};

enum class CpuidReg : u8 { eax, ebx, ecx, edx };

constexpr u32 value_of(const CpuidRegs& r, CpuidReg which) {
  switch (which) {
    case CpuidReg::eax: return r.eax;
    case CpuidReg::ebx: return r.ebx;
    case CpuidReg::ecx: return r.ecx;
    case CpuidReg::edx: return r.edx;
  }
  return 0;
}

constexpr u32& value_of(CpuidRegs& r, CpuidReg which) {
  switch (which) {
    case CpuidReg::eax: return r.eax;
    case CpuidReg::ebx: return r.ebx;
    case CpuidReg::ecx: return r.ecx;
    case CpuidReg::edx: break;
  }
  return r.edx;
}

/// One bit of CPUID's answer.
struct CpuidBit {
  u32 leaf = 0, subleaf = 0;
  CpuidReg reg = CpuidReg::eax;
  u8 bit = 0;
  constexpr auto operator<=>(const CpuidBit&) const = default;
};
constexpr bool has(const CpuidRegs& r, const CpuidBit& b) { return (value_of(r, b.reg) >> b.bit & 1) != 0; }

namespace leaf {
inline constexpr u32 basic_max = 0, version = 1, cache_info = 2, cache = 4, thermal = 6, features = 7, topology = 0xb,
                     xsave = 0xd, sgx = 0x12, tsc = 0x15, frequency = 0x16, hypervisor = 0x4000'0000,
                     extended_max = 0x8000'0000, extended_features = 0x8000'0001, address_sizes = 0x8000'0008;
}

}  // namespace cloister::arch
