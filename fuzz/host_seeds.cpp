// A first corpus for host_fuzz: a small file in each format.
#include <fstream>
#include <string>

#include "unit/policy/dumps.hpp"
#include "unit/toolstack/host_files.hpp"

int main(int count, char** words) {
  using namespace cloister;
  if (count != 2) return 2;
  const std::string folder = words[1];
  std::ofstream(folder + "/raw", std::ios::binary) << tests::raw_dump;
  std::ofstream(folder + "/aida", std::ios::binary) << tests::aida_dump;
  std::ofstream(folder + "/instlat", std::ios::binary) << tests::instlat_dump;
  std::ofstream(folder + "/cpudata", std::ios::binary) << tests::cpudata;
  std::ofstream(folder + "/domain_capabilities", std::ios::binary) << tests::domain_capabilities;
  std::ofstream(folder + "/capabilities", std::ios::binary)
      << "<capabilities><host><cpu><arch>x86_64</arch><model>Skylake-Client</model><feature name='sgx'/></cpu></host>"
         "</capabilities>";
  std::ofstream(folder + "/qmp", std::ios::binary) << tests::qmp_session;
  std::ofstream(folder + "/xen", std::ios::binary)
      << "Raw policy: 2 leaves, 0 MSRs\n 00000000:ffffffff -> 00000012:756e6547:6c65746e:49656e69\n"
         " 00000007:00000000 -> 00000000:029c67af:00000000:bc002e00\nHost policy: 0 leaves, 0 MSRs\n";
  std::ofstream(folder + "/test-sgx", std::ios::binary)
      << "eax: 906ea ebx: 8100800 ecx: 7ffafbff edx: bfebfbff\nExtended feature bits (EAX=07H, ECX=0H)\n"
         "eax: 0 ebx: 29c6fbf ecx: 40000000 edx: bc000600\nsgx available: 1\n";
  std::ofstream(folder + "/cpuid-words", std::ios::binary)
      << "CPU 0:\n   version information (1/eax):\n      model = 0xe (14)\n   extended feature flags (7):\n"
         "      SGX: Software Guard Extensions supported = true\n   SGX attributes (0x12/1):\n"
         "      valid bit mask = 0x000000000000001f0000000000000036\n   EPC (0x12/0x2):\n"
         "      section physical address = 0x40200000\n      section size = 0x5d80000\n      section property = 0x1 "
         "(1)\n";
  std::ofstream(folder + "/test-sgx-2", std::ios::binary)
      << "Extended feature bits (EAX=7, ECX=0): eax: 00000000  ebx: f1bf07af  ecx: 40415f5e  edx: ac000410\n"
         "SGX1 leaf instructions (SGX1): 1\nRaw ECREATE SECS.ATTRIBUTES[63:0]: 00000000 000000b6\n"
         "EPC[0]: Protection: c   Base phys addr: 0000000100000000  size: 0000000040000000\n";
  std::ofstream(folder + "/reports", std::ios::binary)
      << "[ 0.4] sgx: EPC section 0x40200000-0x45f7ffff\nSGX1 supported = true\nrdmsr 0x3a\n60005\n0x8c: 0x1\n"
         "NUMA node #0: size=67108864\nSGX support: enabled\nEPC size: 0x5d80000\n";
  std::ofstream(folder + "/kernel", std::ios::binary)
      << "<6>[ 0.4] sgx: EPC section 0x40200000-0x45f7ffff\n[Mon Nov  2 10:00:00 2026] x86/cpu: SGX Launch Control is "
         "locked. Disable SGX.\nrdmsr -a -c 0x3a\n0x60005\n0x5\nrdmsr -p 1 -d 0x8c\n1\n";
  std::ofstream(folder + "/qemu_caps", std::ios::binary)
      << "<qemuCaps><hostCPU type='kvm'><property name='sgx' type='boolean' value='true'/></hostCPU></qemuCaps>";
  std::ofstream(folder + "/words", std::ios::binary)
      << R"({"return": [{"cpuid-register": "EBX", "cpuid-input-eax": 7, "cpuid-input-ecx": 0, "features": 4}]})";
  return 0;
}
