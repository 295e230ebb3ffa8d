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
  std::ofstream(folder + "/words", std::ios::binary)
      << R"({"return": [{"cpuid-register": "EBX", "cpuid-input-eax": 7, "cpuid-input-ecx": 0, "features": 4}]})";
  return 0;
}
