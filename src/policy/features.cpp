// Feature bits by name (SDM vol. 2A, CPUID, tables 3-8, 3-10 and 3-11; vol. 3D, 37.7.2 for leaf 12H). The first name of
// a bit is the one that is printed; the others are how libxl, libvirt and QEMU spell it too.
#include <algorithm>

#include "policy/nearest.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

namespace {
constexpr auto eax = CpuidReg::eax, ebx = CpuidReg::ebx, ecx = CpuidReg::ecx, edx = CpuidReg::edx;
constexpr u32 extended = 0x8000'0001;
}  // namespace

const std::vector<Feature>& features() {
  static const std::vector<Feature> table = {
      // Leaf 1, EDX
      {"fpu", 1, 0, edx, 0},
      {"vme", 1, 0, edx, 1},
      {"de", 1, 0, edx, 2},
      {"pse", 1, 0, edx, 3},
      {"tsc", 1, 0, edx, 4},
      {"msr", 1, 0, edx, 5},
      {"pae", 1, 0, edx, 6},
      {"mce", 1, 0, edx, 7},
      {"cx8", 1, 0, edx, 8},
      {"cmpxchg8", 1, 0, edx, 8},
      {"apic", 1, 0, edx, 9},
      {"sep", 1, 0, edx, 11},
      {"sysenter", 1, 0, edx, 11},
      {"mtrr", 1, 0, edx, 12},
      {"pge", 1, 0, edx, 13},
      {"mca", 1, 0, edx, 14},
      {"cmov", 1, 0, edx, 15},
      {"pat", 1, 0, edx, 16},
      {"pse36", 1, 0, edx, 17},
      {"pse-36", 1, 0, edx, 17},
      {"psn", 1, 0, edx, 18},
      {"pn", 1, 0, edx, 18},
      {"clflush", 1, 0, edx, 19},
      {"clfsh", 1, 0, edx, 19},
      {"ds", 1, 0, edx, 21},
      {"acpi", 1, 0, edx, 22},
      {"mmx", 1, 0, edx, 23},
      {"fxsr", 1, 0, edx, 24},
      {"sse", 1, 0, edx, 25},
      {"sse2", 1, 0, edx, 26},
      {"ss", 1, 0, edx, 27},
      {"ht", 1, 0, edx, 28},
      {"htt", 1, 0, edx, 28},
      {"tm", 1, 0, edx, 29},
      {"pbe", 1, 0, edx, 31},
      // Leaf 1, ECX
      {"sse3", 1, 0, ecx, 0},
      {"pni", 1, 0, ecx, 0},
      {"pclmulqdq", 1, 0, ecx, 1},
      {"pclmuldq", 1, 0, ecx, 1},
      {"dtes64", 1, 0, ecx, 2},
      {"monitor", 1, 0, ecx, 3},
      {"ds-cpl", 1, 0, ecx, 4},
      {"ds_cpl", 1, 0, ecx, 4},
      {"dscpl", 1, 0, ecx, 4},
      {"vmx", 1, 0, ecx, 5},
      {"smx", 1, 0, ecx, 6},
      {"est", 1, 0, ecx, 7},
      {"tm2", 1, 0, ecx, 8},
      {"ssse3", 1, 0, ecx, 9},
      {"cid", 1, 0, ecx, 10},
      {"cntxid", 1, 0, ecx, 10},
      {"fma", 1, 0, ecx, 12},
      {"cx16", 1, 0, ecx, 13},
      {"cmpxchg16", 1, 0, ecx, 13},
      {"xtpr", 1, 0, ecx, 14},
      {"pdcm", 1, 0, ecx, 15},
      {"pcid", 1, 0, ecx, 17},
      {"dca", 1, 0, ecx, 18},
      {"sse4.1", 1, 0, ecx, 19},
      {"sse4_1", 1, 0, ecx, 19},
      {"sse4-1", 1, 0, ecx, 19},
      {"sse4.2", 1, 0, ecx, 20},
      {"sse4_2", 1, 0, ecx, 20},
      {"sse4-2", 1, 0, ecx, 20},
      {"x2apic", 1, 0, ecx, 21},
      {"movbe", 1, 0, ecx, 22},
      {"popcnt", 1, 0, ecx, 23},
      {"tsc-deadline", 1, 0, ecx, 24},
      {"tsc_deadline", 1, 0, ecx, 24},
      {"aes", 1, 0, ecx, 25},
      {"xsave", 1, 0, ecx, 26},
      {"avx", 1, 0, ecx, 28},
      {"f16c", 1, 0, ecx, 29},
      {"rdrand", 1, 0, ecx, 30},
      {"rdrnd", 1, 0, ecx, 30},
      {"hypervisor", 1, 0, ecx, 31},
      // Leaf 6, EAX
      {"arat", 6, 0, eax, 2},
      // Leaf 7, EBX
      {"fsgsbase", 7, 0, ebx, 0},
      {"tsc_adjust", 7, 0, ebx, 1},
      {"tsc-adjust", 7, 0, ebx, 1},
      {"sgx", 7, 0, ebx, 2},
      {"bmi1", 7, 0, ebx, 3},
      {"hle", 7, 0, ebx, 4},
      {"avx2", 7, 0, ebx, 5},
      {"fdp-excptn-only", 7, 0, ebx, 6},
      {"smep", 7, 0, ebx, 7},
      {"bmi2", 7, 0, ebx, 8},
      {"erms", 7, 0, ebx, 9},
      {"invpcid", 7, 0, ebx, 10},
      {"rtm", 7, 0, ebx, 11},
      {"zero-fcs-fds", 7, 0, ebx, 13},
      {"depfpp", 7, 0, ebx, 13},
      {"mpx", 7, 0, ebx, 14},
      {"avx512f", 7, 0, ebx, 16},
      {"rdseed", 7, 0, ebx, 18},
      {"adx", 7, 0, ebx, 19},
      {"smap", 7, 0, ebx, 20},
      {"clflushopt", 7, 0, ebx, 23},
      {"clwb", 7, 0, ebx, 24},
      {"sha", 7, 0, ebx, 29},
      {"sha-ni", 7, 0, ebx, 29},
      // Leaf 7, ECX
      {"umip", 7, 0, ecx, 2},
      {"pku", 7, 0, ecx, 3},
      {"cet-ss", 7, 0, ecx, 7},
      {"shstk", 7, 0, ecx, 7},
      {"gfni", 7, 0, ecx, 8},
      {"vaes", 7, 0, ecx, 9},
      {"vpclmulqdq", 7, 0, ecx, 10},
      {"la57", 7, 0, ecx, 16},
      {"rdpid", 7, 0, ecx, 22},
      {"movdiri", 7, 0, ecx, 27},
      {"movdir64b", 7, 0, ecx, 28},
      {"sgxlc", 7, 0, ecx, 30},
      {"sgx_lc", 7, 0, ecx, 30},
      {"sgx-lc", 7, 0, ecx, 30},
      {"pks", 7, 0, ecx, 31},
      // Leaf 7, EDX
      {"sgx-keys", 7, 0, edx, 1},
      {"fsrm", 7, 0, edx, 4},
      {"md-clear", 7, 0, edx, 10},
      {"md_clear", 7, 0, edx, 10},
      {"serialize", 7, 0, edx, 14},
      {"cet-ibt", 7, 0, edx, 20},
      {"ibt", 7, 0, edx, 20},
      {"spec-ctrl", 7, 0, edx, 26},
      {"ibrsb", 7, 0, edx, 26},
      {"stibp", 7, 0, edx, 27},
      {"l1d-flush", 7, 0, edx, 28},
      {"l1d_flush", 7, 0, edx, 28},
      {"arch-capabilities", 7, 0, edx, 29},
      {"arch-caps", 7, 0, edx, 29},
      {"core-capability", 7, 0, edx, 30},
      {"ssbd", 7, 0, edx, 31},
      // Leaf 0DH, sub-leaf 1
      {"xsaveopt", 0xd, 1, eax, 0},
      {"xsavec", 0xd, 1, eax, 1},
      {"xgetbv1", 0xd, 1, eax, 2},
      {"xsaves", 0xd, 1, eax, 3},
      // Leaf 12H
      {"sgx1", 0x12, 0, eax, 0},
      {"sgx2", 0x12, 0, eax, 1},
      {"sgx-edeccssa", 0x12, 0, eax, 11},
      {"sgx-exinfo", 0x12, 0, ebx, 0},
      {"sgx-debug", 0x12, 1, eax, 1},
      {"sgx-mode64", 0x12, 1, eax, 2},
      {"sgx-provisionkey", 0x12, 1, eax, 4},
      {"sgx-provision", 0x12, 1, eax, 4},
      {"sgx-tokenkey", 0x12, 1, eax, 5},
      {"sgx-cet", 0x12, 1, eax, 6},
      {"sgx-kss", 0x12, 1, eax, 7},
      {"sgx-aex-notify", 0x12, 1, eax, 10},
      // Extended leaf 1
      {"lahf-lm", extended, 0, ecx, 0},
      {"lahf_lm", extended, 0, ecx, 0},
      {"lahfsahf", extended, 0, ecx, 0},
      {"lzcnt", extended, 0, ecx, 5},
      {"abm", extended, 0, ecx, 5},
      {"3dnowprefetch", extended, 0, ecx, 8},
      {"syscall", extended, 0, edx, 11},
      {"nx", extended, 0, edx, 20},
      {"xd", extended, 0, edx, 20},
      {"pdpe1gb", extended, 0, edx, 26},
      {"page1gb", extended, 0, edx, 26},
      {"rdtscp", extended, 0, edx, 27},
      {"lm", extended, 0, edx, 29},
      // Extended leaves 7 and 8
      {"invtsc", 0x8000'0007, 0, edx, 8},
      {"itsc", 0x8000'0007, 0, edx, 8},
      {"wbnoinvd", 0x8000'0008, 0, ebx, 9},
  };
  return table;
}

const Feature* find_feature(std::string_view name) {
  const auto found = std::ranges::find(features(), name, &Feature::name);
  return found == features().end() ? nullptr : &*found;
}

std::string unknown_feature(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Feature& feature : features()) names.push_back(feature.name);
  std::string text = std::string("unknown CPU feature '").append(name).append("'");
  if (const auto near = nearest(name, names)) text.append(", did you mean '").append(*near).append("'?");
  return text;
}

}  // namespace cloister::policy
