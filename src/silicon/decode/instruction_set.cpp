// Zydis' instruction sets by CPUID bit: SDM vol. 2A, CPUID, tables 3-8 to 3-11; AMD's manual vol. 3, appendix E; leaf
// 0xC0000001 is Centaur's. AVX-512's sets come in widths: 128 and 256 bits need AVX512VL besides, but for those that
// only have the form (Zydis: 128N).
#include "silicon/decode/instruction_set.hpp"

#include <array>

namespace cloister::silicon {

namespace {

using arch::CpuidBit;
using enum arch::CpuidReg;

constexpr u32 ext = 0x8000'0001, ext8 = 0x8000'0008, centaur = 0xc000'0001;

constexpr CpuidBit fpu{1, 0, edx, 0}, cx8{1, 0, edx, 8}, cmov{1, 0, edx, 15}, clflush{1, 0, edx, 19},
    mmx{1, 0, edx, 23}, fxsr{1, 0, edx, 24}, sse{1, 0, edx, 25}, sse2{1, 0, edx, 26};
constexpr CpuidBit sse3{1, 0, ecx, 0}, vmx{1, 0, ecx, 5}, ssse3{1, 0, ecx, 9}, aes{1, 0, ecx, 25}, xsave{1, 0, ecx, 26},
    avx{1, 0, ecx, 28};
constexpr CpuidBit sgx{7, 0, ebx, 2}, avx2{7, 0, ebx, 5}, avx512f{7, 0, ebx, 16}, avx512dq{7, 0, ebx, 17},
    avx512pf{7, 0, ebx, 26}, avx512er{7, 0, ebx, 27}, avx512cd{7, 0, ebx, 28}, avx512bw{7, 0, ebx, 30},
    avx512vl{7, 0, ebx, 31}, ifma{7, 0, ebx, 21};
constexpr CpuidBit vbmi{7, 0, ecx, 1}, vbmi2{7, 0, ecx, 6}, gfni{7, 0, ecx, 8}, vaes{7, 0, ecx, 9},
    vpclmulqdq{7, 0, ecx, 10}, vnni{7, 0, ecx, 11}, bitalg{7, 0, ecx, 12}, vpopcntdq{7, 0, ecx, 14},
    keylocker{7, 0, ecx, 23}, movdiri{7, 0, ecx, 27}, movdir64b{7, 0, ecx, 28};
constexpr CpuidBit vnniw{7, 0, edx, 2}, fmaps{7, 0, edx, 3}, vp2intersect{7, 0, edx, 8}, fp16{7, 0, edx, 23},
    bf16{7, 1, eax, 5};

/// Bits of which the first says that there is one.
struct Bits {
  constexpr Bits() = default;
  constexpr Bits(CpuidBit one) : bit{one}, count(1) {}
  constexpr Bits(CpuidBit one, CpuidBit other) : bit{one, other}, count(2) {}
  std::array<CpuidBit, 2> bit{};
  unsigned count = 0;  ///< 0: every processor has the set
};

struct Row {
  ZydisISASet set;
  Bits bits = {};
};

constexpr Row rows[] = {
    // -- every processor of this architecture
    {ZYDIS_ISA_SET_I86},
    {ZYDIS_ISA_SET_I186},
    {ZYDIS_ISA_SET_I286REAL},
    {ZYDIS_ISA_SET_I286PROTECTED},
    {ZYDIS_ISA_SET_I386},
    {ZYDIS_ISA_SET_I486},
    {ZYDIS_ISA_SET_I486REAL},
    {ZYDIS_ISA_SET_PENTIUMREAL},
    {ZYDIS_ISA_SET_PPRO},
    {ZYDIS_ISA_SET_RDPMC},
    {ZYDIS_ISA_SET_LONGMODE},
    {ZYDIS_ISA_SET_PAUSE},
    {ZYDIS_ISA_SET_FAT_NOP},
    {ZYDIS_ISA_SET_PREFETCH_NOP},  // hints: NOPs where they are not there
    {ZYDIS_ISA_SET_PREFETCHWT1},
    {ZYDIS_ISA_SET_CLDEMOTE},
    // -- leaf 1
    {ZYDIS_ISA_SET_X87, fpu},
    {ZYDIS_ISA_SET_FCMOV, {fpu, cmov}},
    {ZYDIS_ISA_SET_CMOV, cmov},
    {ZYDIS_ISA_SET_CLFSH, clflush},
    {ZYDIS_ISA_SET_PENTIUMMMX, mmx},
    {ZYDIS_ISA_SET_FXSAVE, fxsr},
    {ZYDIS_ISA_SET_FXSAVE64, fxsr},
    {ZYDIS_ISA_SET_SSE, sse},
    {ZYDIS_ISA_SET_SSEMXCSR, sse},
    {ZYDIS_ISA_SET_SSE_PREFETCH, sse},
    {ZYDIS_ISA_SET_SSE2, sse2},
    {ZYDIS_ISA_SET_SSE2MMX, sse2},
    {ZYDIS_ISA_SET_SSE3, sse3},
    {ZYDIS_ISA_SET_SSE3X87, sse3},
    {ZYDIS_ISA_SET_PCLMULQDQ, CpuidBit{1, 0, ecx, 1}},
    {ZYDIS_ISA_SET_MONITOR, CpuidBit{1, 0, ecx, 3}},
    {ZYDIS_ISA_SET_VTX, vmx},
    {ZYDIS_ISA_SET_VMFUNC, vmx},
    {ZYDIS_ISA_SET_SMX, CpuidBit{1, 0, ecx, 6}},
    {ZYDIS_ISA_SET_SSSE3, ssse3},
    {ZYDIS_ISA_SET_SSSE3MMX, ssse3},
    {ZYDIS_ISA_SET_FMA, CpuidBit{1, 0, ecx, 12}},
    {ZYDIS_ISA_SET_CMPXCHG16B, CpuidBit{1, 0, ecx, 13}},
    {ZYDIS_ISA_SET_SSE4, CpuidBit{1, 0, ecx, 19}},
    {ZYDIS_ISA_SET_SSE42, CpuidBit{1, 0, ecx, 20}},
    {ZYDIS_ISA_SET_MOVBE, CpuidBit{1, 0, ecx, 22}},
    {ZYDIS_ISA_SET_POPCNT, CpuidBit{1, 0, ecx, 23}},
    {ZYDIS_ISA_SET_AES, aes},
    {ZYDIS_ISA_SET_AVXAES, {aes, avx}},
    {ZYDIS_ISA_SET_XSAVE, xsave},
    {ZYDIS_ISA_SET_AVX, avx},
    {ZYDIS_ISA_SET_F16C, CpuidBit{1, 0, ecx, 29}},
    {ZYDIS_ISA_SET_RDRAND, CpuidBit{1, 0, ecx, 30}},
    // -- leaf 7
    {ZYDIS_ISA_SET_RDWRFSGS, CpuidBit{7, 0, ebx, 0}},
    {ZYDIS_ISA_SET_SGX, sgx},
    {ZYDIS_ISA_SET_SGX_ENCLV, {sgx, {0x12, 0, eax, 5}}},
    {ZYDIS_ISA_SET_BMI1, CpuidBit{7, 0, ebx, 3}},
    {ZYDIS_ISA_SET_AVX2, avx2},
    {ZYDIS_ISA_SET_AVX2GATHER, avx2},
    {ZYDIS_ISA_SET_BMI2, CpuidBit{7, 0, ebx, 8}},
    {ZYDIS_ISA_SET_INVPCID, CpuidBit{7, 0, ebx, 10}},
    {ZYDIS_ISA_SET_RTM, CpuidBit{7, 0, ebx, 11}},
    {ZYDIS_ISA_SET_MPX, CpuidBit{7, 0, ebx, 14}},
    {ZYDIS_ISA_SET_RDSEED, CpuidBit{7, 0, ebx, 18}},
    {ZYDIS_ISA_SET_ADOX_ADCX, CpuidBit{7, 0, ebx, 19}},
    {ZYDIS_ISA_SET_SMAP, CpuidBit{7, 0, ebx, 20}},
    {ZYDIS_ISA_SET_CLFLUSHOPT, CpuidBit{7, 0, ebx, 23}},
    {ZYDIS_ISA_SET_CLWB, CpuidBit{7, 0, ebx, 24}},
    {ZYDIS_ISA_SET_SHA, CpuidBit{7, 0, ebx, 29}},
    {ZYDIS_ISA_SET_PKU, CpuidBit{7, 0, ecx, 3}},
    {ZYDIS_ISA_SET_WAITPKG, CpuidBit{7, 0, ecx, 5}},
    {ZYDIS_ISA_SET_CET, CpuidBit{7, 0, ecx, 7}},
    {ZYDIS_ISA_SET_GFNI, gfni},
    {ZYDIS_ISA_SET_AVX_GFNI, {gfni, avx}},
    {ZYDIS_ISA_SET_VAES, {vaes, avx}},
    {ZYDIS_ISA_SET_VPCLMULQDQ, {vpclmulqdq, avx}},
    {ZYDIS_ISA_SET_RDPID, CpuidBit{7, 0, ecx, 22}},
    {ZYDIS_ISA_SET_KEYLOCKER, keylocker},
    {ZYDIS_ISA_SET_KEYLOCKER_WIDE, keylocker},
    {ZYDIS_ISA_SET_MOVDIR, movdiri},
    {ZYDIS_ISA_SET_ENQCMD, CpuidBit{7, 0, ecx, 29}},
    {ZYDIS_ISA_SET_UINTR, CpuidBit{7, 0, edx, 5}},
    {ZYDIS_ISA_SET_SERIALIZE, CpuidBit{7, 0, edx, 14}},
    {ZYDIS_ISA_SET_TSX_LDTRK, CpuidBit{7, 0, edx, 16}},
    {ZYDIS_ISA_SET_PCONFIG, CpuidBit{7, 0, edx, 18}},
    {ZYDIS_ISA_SET_AMX_BF16, CpuidBit{7, 0, edx, 22}},
    {ZYDIS_ISA_SET_AMX_TILE, CpuidBit{7, 0, edx, 24}},
    {ZYDIS_ISA_SET_AMX_INT8, CpuidBit{7, 0, edx, 25}},
    {ZYDIS_ISA_SET_AVX_VNNI, CpuidBit{7, 1, eax, 4}},
    {ZYDIS_ISA_SET_HRESET, CpuidBit{7, 1, eax, 22}},
    // -- leaves 0xD and 0x14
    {ZYDIS_ISA_SET_XSAVEOPT, CpuidBit{0xd, 1, eax, 0}},
    {ZYDIS_ISA_SET_XSAVEC, CpuidBit{0xd, 1, eax, 1}},
    {ZYDIS_ISA_SET_XSAVES, CpuidBit{0xd, 1, eax, 3}},
    {ZYDIS_ISA_SET_PT, CpuidBit{0x14, 0, ebx, 4}},
    // -- extended leaves
    {ZYDIS_ISA_SET_LAHF, CpuidBit{ext, 0, ecx, 0}},
    {ZYDIS_ISA_SET_SVM, CpuidBit{ext, 0, ecx, 2}},
    {ZYDIS_ISA_SET_LZCNT, CpuidBit{ext, 0, ecx, 5}},
    {ZYDIS_ISA_SET_SSE4A, CpuidBit{ext, 0, ecx, 6}},
    {ZYDIS_ISA_SET_XOP, CpuidBit{ext, 0, ecx, 11}},
    {ZYDIS_ISA_SET_LWP, CpuidBit{ext, 0, ecx, 15}},
    {ZYDIS_ISA_SET_FMA4, CpuidBit{ext, 0, ecx, 16}},
    {ZYDIS_ISA_SET_TBM, CpuidBit{ext, 0, ecx, 21}},
    {ZYDIS_ISA_SET_MONITORX, CpuidBit{ext, 0, ecx, 29}},
    {ZYDIS_ISA_SET_AMD, CpuidBit{ext, 0, edx, 11}},
    {ZYDIS_ISA_SET_RDTSCP, CpuidBit{ext, 0, edx, 27}},
    {ZYDIS_ISA_SET_AMD3DNOW, CpuidBit{ext, 0, edx, 31}},
    {ZYDIS_ISA_SET_CLZERO, CpuidBit{ext8, 0, ebx, 0}},
    {ZYDIS_ISA_SET_AMD_INVLPGB, CpuidBit{ext8, 0, ebx, 3}},
    {ZYDIS_ISA_SET_RDPRU, CpuidBit{ext8, 0, ebx, 4}},
    {ZYDIS_ISA_SET_MCOMMIT, CpuidBit{ext8, 0, ebx, 8}},
    {ZYDIS_ISA_SET_SNP, CpuidBit{0x8000'001f, 0, eax, 4}},
    {ZYDIS_ISA_SET_PADLOCK_RNG, CpuidBit{centaur, 0, edx, 3}},
    {ZYDIS_ISA_SET_PADLOCK_ACE, CpuidBit{centaur, 0, edx, 7}},
    {ZYDIS_ISA_SET_PADLOCK_PHE, CpuidBit{centaur, 0, edx, 11}},
    {ZYDIS_ISA_SET_PADLOCK_PMM, CpuidBit{centaur, 0, edx, 13}},
    // -- AVX-512
    {ZYDIS_ISA_SET_AVX512F_128, {avx512f, avx512vl}},
    {ZYDIS_ISA_SET_AVX512F_128N, avx512f},
    {ZYDIS_ISA_SET_AVX512F_256, {avx512f, avx512vl}},
    {ZYDIS_ISA_SET_AVX512F_512, avx512f},
    {ZYDIS_ISA_SET_AVX512F_KOP, avx512f},
    {ZYDIS_ISA_SET_AVX512F_SCALAR, avx512f},
    {ZYDIS_ISA_SET_AVX512BW_128, {avx512bw, avx512vl}},
    {ZYDIS_ISA_SET_AVX512BW_128N, avx512bw},
    {ZYDIS_ISA_SET_AVX512BW_256, {avx512bw, avx512vl}},
    {ZYDIS_ISA_SET_AVX512BW_512, avx512bw},
    {ZYDIS_ISA_SET_AVX512BW_KOP, avx512bw},
    {ZYDIS_ISA_SET_AVX512CD_128, {avx512cd, avx512vl}},
    {ZYDIS_ISA_SET_AVX512CD_256, {avx512cd, avx512vl}},
    {ZYDIS_ISA_SET_AVX512CD_512, avx512cd},
    {ZYDIS_ISA_SET_AVX512DQ_128, {avx512dq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512DQ_128N, avx512dq},
    {ZYDIS_ISA_SET_AVX512DQ_256, {avx512dq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512DQ_512, avx512dq},
    {ZYDIS_ISA_SET_AVX512DQ_KOP, avx512dq},
    {ZYDIS_ISA_SET_AVX512DQ_SCALAR, avx512dq},
    {ZYDIS_ISA_SET_AVX512ER_512, avx512er},
    {ZYDIS_ISA_SET_AVX512ER_SCALAR, avx512er},
    {ZYDIS_ISA_SET_AVX512PF_512, avx512pf},
    {ZYDIS_ISA_SET_AVX512_4FMAPS_512, fmaps},
    {ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR, fmaps},
    {ZYDIS_ISA_SET_AVX512_4VNNIW_512, vnniw},
    {ZYDIS_ISA_SET_AVX512_BF16_128, {bf16, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_BF16_256, {bf16, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_BF16_512, {bf16, avx512f}},
    {ZYDIS_ISA_SET_AVX512_BITALG_128, {bitalg, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_BITALG_256, {bitalg, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_BITALG_512, bitalg},
    {ZYDIS_ISA_SET_AVX512_FP16_128, {fp16, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_FP16_128N, fp16},
    {ZYDIS_ISA_SET_AVX512_FP16_256, {fp16, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_FP16_512, fp16},
    {ZYDIS_ISA_SET_AVX512_FP16_SCALAR, fp16},
    {ZYDIS_ISA_SET_AVX512_GFNI_128, {gfni, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_GFNI_256, {gfni, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_GFNI_512, {gfni, avx512f}},
    {ZYDIS_ISA_SET_AVX512_IFMA_128, {ifma, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_IFMA_256, {ifma, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_IFMA_512, ifma},
    {ZYDIS_ISA_SET_AVX512_VAES_128, {vaes, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VAES_256, {vaes, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VAES_512, {vaes, avx512f}},
    {ZYDIS_ISA_SET_AVX512_VBMI_128, {vbmi, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VBMI_256, {vbmi, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VBMI_512, vbmi},
    {ZYDIS_ISA_SET_AVX512_VBMI2_128, {vbmi2, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VBMI2_256, {vbmi2, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VBMI2_512, vbmi2},
    {ZYDIS_ISA_SET_AVX512_VNNI_128, {vnni, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VNNI_256, {vnni, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VNNI_512, vnni},
    {ZYDIS_ISA_SET_AVX512_VP2INTERSECT_128, {vp2intersect, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VP2INTERSECT_256, {vp2intersect, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VP2INTERSECT_512, vp2intersect},
    {ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_128, {vpclmulqdq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_256, {vpclmulqdq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_512, {vpclmulqdq, avx512f}},
    {ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_128, {vpopcntdq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_256, {vpopcntdq, avx512vl}},
    {ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512, vpopcntdq},
};

/// Instructions that have a bit of their own within their set.
struct Single {
  ZydisMnemonic mnemonic;
  CpuidBit bit;
};
constexpr Single singles[] = {{ZYDIS_MNEMONIC_MOVDIR64B, movdir64b}, {ZYDIS_MNEMONIC_CMPXCHG8B, cx8}};

}  // namespace

std::optional<std::vector<CpuidBit>> offered_by(ZydisISASet set, ZydisMnemonic mnemonic) {
  for (const Single& s : singles) {
    if (s.mnemonic == mnemonic) return std::vector{s.bit};
  }
  for (const Row& row : rows) {
    if (row.set == set) return std::vector(row.bits.bit.begin(), row.bits.bit.begin() + row.bits.count);
  }
  return std::nullopt;
}

}  // namespace cloister::silicon
