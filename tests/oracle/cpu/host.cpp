// A probe for each CPUID bit that the dispatcher's forms need: #UD says that the host does not execute it; any other
// end, also #GP for privilege, that it does. Bits of every x86-64 processor (leaf 1, EDX) are not asked for.
#include "oracle/cpu/host.hpp"

#include <cpuid.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "silicon/decode/instruction_set.hpp"

namespace cloister::oracle {
namespace {

using arch::CpuidBit;
using enum arch::CpuidReg;

struct Probe {
  CpuidBit bit;
  const char* name;
  std::array<u8, 7> code;  ///< RAX points to memory; NOPs after it would be INT3s
  unsigned bytes;
  std::optional<u64> rcx = {};  ///< after it: tells it from what the bytes are without the feature
};

constexpr u64 memory = sandbox::data + arch::page_size;

constexpr Probe probes[] = {
    {{1, 0, ecx, 0}, "SSE3", {0xf2, 0x0f, 0x7c, 0xc1}, 4},                     // haddps xmm0, xmm1
    {{1, 0, ecx, 1}, "PCLMULQDQ", {0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00}, 6},    // pclmulqdq xmm0, xmm1, 0
    {{1, 0, ecx, 9}, "SSSE3", {0x66, 0x0f, 0x38, 0x1c, 0xc1}, 5},              // pabsb xmm0, xmm1
    {{1, 0, ecx, 13}, "CMPXCHG16B", {0x48, 0x0f, 0xc7, 0x08}, 4},              // cmpxchg16b [rax]
    {{1, 0, ecx, 19}, "SSE4.1", {0x66, 0x0f, 0x38, 0x17, 0xc1}, 5},            // ptest xmm0, xmm1
    {{1, 0, ecx, 20}, "SSE4.2", {0xf2, 0x0f, 0x38, 0xf1, 0xc8}, 5},            // crc32 ecx, eax
    {{1, 0, ecx, 22}, "MOVBE", {0x0f, 0x38, 0xf0, 0x08}, 4},                   // movbe ecx, [rax]
    {{1, 0, ecx, 23}, "POPCNT", {0xf3, 0x0f, 0xb8, 0xc8}, 4},                  // popcnt ecx, eax
    {{1, 0, ecx, 25}, "AES", {0x66, 0x0f, 0x38, 0xdc, 0xc1}, 5},               // aesenc xmm0, xmm1
    {{1, 0, ecx, 26}, "XSAVE", {0x0f, 0x01, 0xd0}, 3},                         // xgetbv
    {{1, 0, ecx, 12}, "FMA", {0xc4, 0xe2, 0x71, 0x98, 0xc2}, 5},               // vfmadd132ps xmm0, xmm1, xmm2
    {{1, 0, ecx, 28}, "AVX", {0xc5, 0xf0, 0x58, 0xc2}, 4},                     // vaddps xmm0, xmm1, xmm2
    {{1, 0, ecx, 29}, "F16C", {0xc4, 0xe2, 0x79, 0x13, 0xc1}, 5},              // vcvtph2ps xmm0, xmm1
    {{7, 0, ebx, 5}, "AVX2", {0xc5, 0xf5, 0xfe, 0xc2}, 4},                     // vpaddd ymm0, ymm1, ymm2
    {{7, 0, ecx, 9}, "VAES", {0xc4, 0xe2, 0x75, 0xdc, 0xc2}, 5},               // vaesenc ymm0, ymm1, ymm2
    {{7, 0, ecx, 10}, "VPCLMULQDQ", {0xc4, 0xe3, 0x75, 0x44, 0xc2, 0x00}, 6},  // vpclmulqdq ymm0, ymm1, ymm2, 0
    {{7, 0, ebx, 0}, "FSGSBASE", {0xf3, 0x48, 0x0f, 0xae, 0xc9}, 5},           // rdgsbase rcx
    {{7, 0, ebx, 3}, "BMI1", {0xc4, 0xe2, 0x78, 0xf2, 0xca}, 5},               // andn ecx, eax, edx
    {{7, 0, ebx, 8}, "BMI2", {0xc4, 0xe2, 0x69, 0xf7, 0xc8}, 5},               // shlx ecx, eax, edx
    {{7, 0, ebx, 10}, "INVPCID", {0x66, 0x0f, 0x38, 0x82, 0x08}, 5},           // invpcid rcx, [rax]
    {{7, 0, ebx, 19}, "ADX", {0x66, 0x0f, 0x38, 0xf6, 0xc8}, 5},               // adcx ecx, eax
    {{7, 0, ebx, 23}, "CLFLUSHOPT", {0x66, 0x0f, 0xae, 0x38}, 4},              // clflushopt [rax]
    {{7, 0, ebx, 24}, "CLWB", {0x66, 0x0f, 0xae, 0x30}, 4},                    // clwb [rax]
    {{7, 0, ebx, 29}, "SHA", {0x0f, 0x38, 0xc9, 0xc1}, 4},                     // sha1msg1 xmm0, xmm1
    {{7, 0, ecx, 27}, "MOVDIRI", {0x0f, 0x38, 0xf9, 0x08}, 4},                 // movdiri [rax], ecx
    {{0xd, 1, eax, 0}, "XSAVEOPT", {0x0f, 0xae, 0x30}, 3},                     // xsaveopt [rax]
    {{0xd, 1, eax, 1}, "XSAVEC", {0x0f, 0xc7, 0x20}, 3},                       // xsavec [rax]
    {{0xd, 1, eax, 3}, "XSAVES", {0x0f, 0xc7, 0x28}, 3},                       // xsaves [rax]
    {{0x8000'0001, 0, ecx, 0}, "LAHF", {0x9f}, 1},                             // lahf
    {{0x8000'0001, 0, ecx, 5}, "LZCNT", {0xf3, 0x0f, 0xbd, 0xc8}, 4, 2},       // lzcnt ecx, eax; else bsr: 29
};

const Probe* probe_of(const CpuidBit& bit) {
  const auto* const found = std::ranges::find(probes, bit, &Probe::bit);
  return found == std::end(probes) ? nullptr : found;
}

bool cpuid_says(const CpuidBit& b) {
  arch::CpuidRegs r;
  return __get_cpuid_count(b.leaf, b.subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) != 0 && has(r, b);
}

/// Runs the bytes where the cases' instruction stands.
Outcome run(Native& native, std::span<const u8> code, bool bits64) {
  u8* const at = &native.memory()[sandbox::instruction - sandbox::base];
  std::memcpy(at, code.data(), code.size());
  State state;
  state.rip = sandbox::instruction;
  state.rflags = arch::rflags::fixed1 | arch::rflags::if_;
  state.gpr[arch::rax] = memory;
  state.gpr[arch::rsp] = sandbox::data + 0x800;
  const Outcome outcome = native.run(state, bits64);
  std::memset(at, 0xcc, code.size());
  return outcome;
}

/// The host's table has a descriptor that CPL 3 may use (SDM vol. 2A, LAR).
bool has_descriptor(u16 selector) {
  bool found = false;
  u64 rights = 0;
  asm volatile("lar %2, %0" : "+r"(rights), "=@ccz"(found) : "r"(u64{selector}));
  return found;
}

}  // namespace

Host::Answer Host::ask(Native& native, const CpuidBit& bit) const {
  const Probe& probe = *probe_of(bit);
  const Outcome o = run(native, std::span(probe.code).first(probe.bytes), true);
  const bool runs = o.vector != arch::vector::ud && (!probe.rcx || o.state.gpr[arch::rcx] == *probe.rcx);
  return {cpuid_says(bit), runs};
}

Host::Host(Native& native) {
  std::memset(native.memory().data(), 0xcc, arch::page_size);
  for (const Probe& probe : probes) {
    const Answer a = answers_[probe.bit] = ask(native, probe.bit);
    if (a.cpuid && a.runs) continue;
    peculiarities_ += fmt::format("  host: {}: {} by CPUID, {}\n", probe.name, a.cpuid ? "there" : "absent",
                                  a.runs ? "runs all the same: compared" : "#UD when tried: skipped");
  }
  constexpr u8 nop = 0x90;
  if (const Outcome o = run(native, std::span(&nop, 1), false); o.vector) {
    lacks_code32_ = fmt::format("this host has no 32-bit code: IRET to selector {:#x} raises exception {}, error {:#x}",
                                selector::code32, *o.vector, o.error);
    peculiarities_ += "  " + *lacks_code32_ + "\n";
  }
}

bool Host::can_try(const CpuidBit& bit) { return probe_of(bit) != nullptr; }

std::optional<std::string> Host::lacks(const Form& form) const {
  const auto bits = silicon::offered_by(form.set, form.mnemonic);
  if (!bits) return "no processor offers it by CPUID";
  for (const CpuidBit& bit : *bits) {
    const auto answer = answers_.find(bit);
    if (answer == answers_.end() || answer->second.runs) continue;
    return fmt::format("{} is #UD on this host, {} by CPUID", probe_of(bit)->name,
                       answer->second.cpuid ? "there" : "absent");
  }
  return std::nullopt;
}

void Host::correct(std::array<u64, 8>& descriptors) const {
  for (const u16 s : {selector::code32, selector::data, selector::code64}) {
    if (!has_descriptor(s)) descriptors[s / 8u] = 0;
  }
}

}  // namespace cloister::oracle
