// What this processor is: CPUID's leaves (SDM vol. 2A, CPUID, table 3-8). It says what is offered and implemented, and
// nothing else.
#include "silicon/cpuid.hpp"

#include <algorithm>
#include <cstring>

#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

namespace {

constexpr u32 bit(unsigned n) { return 1u << n; }
template <class... N>
constexpr u32 bits(N... n) {
  return (bit(static_cast<unsigned>(n)) | ...);
}

constexpr u32 max_basic = 0x16, max_extended = 0x8000'0008;
constexpr u32 clflush_line = 8;  // in 8-byte units

// Feature words as they are implemented, but for SGX.
// Leaf 1.
constexpr u32 leaf1_ecx =
    bits(0 /*SSE3*/, 9 /*SSSE3*/, 13 /*CX16*/, 17 /*PCID*/, 19 /*SSE4.1*/, 20 /*SSE4.2*/, 21 /*x2APIC*/, 22 /*MOVBE*/,
         23 /*POPCNT*/, 24 /*TSC deadline*/, 26 /*XSAVE*/, 30 /*RDRAND*/);
constexpr u32 leaf1_edx = bits(0 /*FPU*/, 2 /*DE*/, 3 /*PSE*/, 4 /*TSC*/, 5 /*MSR*/, 6 /*PAE*/, 8 /*CX8*/, 9 /*APIC*/,
                               11 /*SEP*/, 12 /*MTRR*/, 13 /*PGE*/, 15 /*CMOV*/, 16 /*PAT*/, 17 /*PSE-36*/,
                               19 /*CLFSH*/, 23 /*MMX*/, 24 /*FXSR*/, 25 /*SSE*/, 26 /*SSE2*/, 27 /*SS*/);
// Leaf 7. EBX 6 and 13: x87's FDP only on unmasked exceptions, FCS and FDS deprecated.
constexpr u32 leaf7_ebx =
    bits(0 /*FSGSBASE*/, 1 /*TSC_ADJUST*/, 3 /*BMI1*/, 6, 7 /*SMEP*/, 8 /*BMI2*/, 9 /*ERMS*/, 10 /*INVPCID*/, 13,
         18 /*RDSEED*/, 19 /*ADX*/, 20 /*SMAP*/, 23 /*CLFLUSHOPT*/, 24 /*CLWB*/);
constexpr u32 leaf7_ecx = bits(2 /*UMIP*/, 22 /*RDPID*/, 27 /*MOVDIRI*/);
// EDX 26, 27, 29: IBRS/IBPB, STIBP and IA32_ARCH_CAPABILITIES. Nothing here is speculative, so each holds.
constexpr u32 leaf7_edx = bits(4 /*FSRM*/, 26, 27, 29);
// Leaf 0xD, sub-leaf 1: XSAVEOPT, XSAVEC, XGETBV1, XSAVES.
constexpr u32 xsave_eax = 0xf;
// Leaf 0x80000001.
constexpr u32 extended_ecx = bits(0 /*LAHF*/, 5 /*LZCNT*/, 8 /*PREFETCHW*/);
constexpr u32 extended_edx = bits(11 /*SYSCALL*/, 20 /*NX*/, 26 /*1 GiB pages*/, 27 /*RDTSCP*/, 29 /*LM*/);

// Those whose instructions run on the host's own.
constexpr u32 avx_bit = bit(28);
u32 host_leaf1_ecx(const HostFeatures& host) {
  return (host.pclmul ? bit(1) : 0) | (host.fma ? bit(12) : 0) | (host.aes ? bit(25) : 0) | (host.avx ? avx_bit : 0) |
         (host.f16c ? bit(29) : 0);
}
u32 host_leaf7_ebx(const HostFeatures& host) { return (host.avx ? bit(5) /*AVX2*/ : 0) | (host.sha ? bit(29) : 0); }
u32 host_leaf7_ecx(const HostFeatures& host) { return (host.vaes ? bit(9) : 0) | (host.vpclmulqdq ? bit(10) : 0); }

/// Leaf 4: deterministic cache parameters.
struct Cache {
  u32 type, level, ways, sets;
};
constexpr Cache caches[] = {{1, 1, 12, 64}, {2, 1, 8, 64}, {3, 2, 20, 1024}, {3, 3, 12, 16384}};

CpuidRegs cache_leaf(u32 subleaf) {
  if (subleaf >= std::size(caches)) return {};
  const Cache& c = caches[subleaf];
  constexpr u32 self_initialising = bit(8), line = 64;
  return {c.type | (c.level << 5) | self_initialising, ((c.ways - 1) << 22) | (line - 1), c.sets - 1, 0};
}

CpuidRegs brand_leaf(const std::string& brand, u32 part) {
  CpuidRegs r;
  if (brand.size() > 16 * part) std::memcpy(&r, &brand[16 * part], std::min(sizeof r, brand.size() - 16 * part));
  return r;
}

/// XCR0's bits (SDM vol. 1, 13.1). AVX's component goes with its feature.
u64 xcr0_of(const HostFeatures& host, const Features& offered) {
  constexpr u64 without_avx = 3;
  return (offered.leaf1_ecx & avx_bit) != 0 ? host.xcr0() : without_avx;
}

constexpr u32 legacy_area = 512 + 64, avx_area = 256;
CpuidRegs xsave_leaf(const HostFeatures& host, const Features& offered, u32 subleaf) {
  const u32 components = static_cast<u32>(xcr0_of(host, offered)), avx = components >> 2 & 1;
  const u32 bytes = legacy_area + avx * avx_area;
  switch (subleaf) {
    case 0: return {components, bytes, bytes, 0};
    case 1: return {xsave_eax, bytes, 0, 0};
    case 2: return {avx * avx_area, avx * legacy_area, 0, 0};
    default: return {};
  }
}

constexpr u32 crystal_hz = 25'000'000;

/// What is implemented, whatever is offered of it.
CpuidRegs basic_leaf(const HostFeatures& host, const Features& offered, u32 leaf, u32 subleaf) {
  switch (leaf) {
    case 0: return {max_basic, 0x756e6547, 0x6c65746e, 0x49656e69};  // "GenuineIntel"
    case 1: return {offered.signature, clflush_line << 8, leaf1_ecx | host_leaf1_ecx(host), leaf1_edx};
    case 2: return {0x00feff01, 0, 0, 0};  // caches: see leaf 4; TLB: see leaf 0x18
    case 4: return cache_leaf(subleaf);
    case 6: return {bit(2) /*ARAT*/, 0, 0, 0};
    case 7:
      if (subleaf != 0) return {};
      return {0, leaf7_ebx | host_leaf7_ebx(host), leaf7_ecx | host_leaf7_ecx(host), leaf7_edx};
    case 0xb: return {0, subleaf < 2 ? 1u : 0u, subleaf | (subleaf < 2 ? (subleaf + 1) << 8 : 0), 0};
    case 0xd: return xsave_leaf(host, offered, subleaf);
    case 0x15: return {1, static_cast<u32>(tsc_hz / crystal_hz), crystal_hz, 0};
    case 0x16: return {tsc_hz / 1'000'000, tsc_hz / 1'000'000, 100, 0};
    default: return {};
  }
}

CpuidRegs implemented_leaf(const HostFeatures& host, const Features& offered, u32 leaf, u32 subleaf) {
  switch (leaf) {
    case 0x8000'0000: return {max_extended, 0, 0, 0};
    case 0x8000'0001: return {0, 0, extended_ecx, extended_edx};
    case 0x8000'0002:
    case 0x8000'0003:
    case 0x8000'0004: return brand_leaf(offered.brand, leaf - 0x8000'0002);
    case 0x8000'0006: return {0, 0, 0x0500'7040, 0};  // L2: 1280 KiB, 64-byte lines
    case 0x8000'0007: return {0, 0, 0, bit(8) /*invariant TSC*/};
    case 0x8000'0008: return {physical_address_bits | linear_address_bits << 8, 0, 0, 0};
    default: return leaf <= max_basic ? basic_leaf(host, offered, leaf, subleaf) : CpuidRegs{};
  }
}

CpuidRegs leaf_without_sgx(const HostFeatures& host, const Features& offered, u32 leaf, u32 subleaf) {
  CpuidRegs r = implemented_leaf(host, offered, leaf, subleaf);
  // The others with words of features have no sub-leaves, and answer for every one.
  const u32 asked = leaf == arch::leaf::features || leaf == arch::leaf::xsave ? subleaf : 0;
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows) {
    if (row.leaf == leaf && row.subleaf == asked) value_of(r, row.reg) &= offered.*row.word;
  }
  return r;
}

/// SDM vol. 2A, table 3-8, leaf 0x12.
CpuidRegs sgx_leaf(const SgxFeatures& sgx, std::span<const EpcSection> epc, u32 subleaf) {
  if (subleaf == 0) {
    return {sgx.capabilities(), sgx.miscselect(), 0, u32{sgx.log2_size_32} | u32{sgx.log2_size_64} << 8};
  }
  if (subleaf == 1) {
    return {static_cast<u32>(sgx.attributes()), static_cast<u32>(sgx.attributes() >> 32), static_cast<u32>(sgx.xfrm),
            static_cast<u32>(sgx.xfrm >> 32)};
  }
  if (subleaf - 2 >= epc.size()) return {};
  const EpcSection& section = epc[subleaf - 2];
  const u64 base = arch::address_of(section.first).value, bytes = section.pages * arch::page_size;
  return {static_cast<u32>(base & 0xffff'f000) | 1, static_cast<u32>(base >> 32),
          static_cast<u32>(bytes & 0xffff'f000) | sgx.epc_property, static_cast<u32>(bytes >> 32)};
}

}  // namespace

CpuidRegs cpuid_on(const HostFeatures& host, const Package::Config& config, u32 leaf, u32 subleaf) {
  const Features& offered = config.features;
  CpuidRegs r = leaf_without_sgx(host, offered, leaf, subleaf);
  if (config.epc.empty() || !offered.has_sgx()) return r;
  if (leaf == 7 && subleaf == 0) {
    r.ebx |= bit(2);                                   // SGX
    r.ecx |= offered.launch_control() ? bit(30) : 0u;  // SGX_LC
  }
  if (leaf != 0x12) return r;
  SgxFeatures sgx = implemented(offered.sgx);
  sgx.xfrm &= host.xcr0();
  return sgx_leaf(sgx, config.epc, subleaf);
}

CpuidRegs Package::cpuid(const Config& config, u32 leaf, u32 subleaf) {
  return cpuid_on(host_features(), config, leaf, subleaf);
}

CpuidRegs Package::cpuid(u32 leaf, u32 subleaf) const { return cpuid(impl_->config(), leaf, subleaf); }

}  // namespace cloister::silicon
