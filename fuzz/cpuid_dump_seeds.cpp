// A first corpus for cpuid_dump_fuzz: a small dump in each format.
#include <fstream>
#include <string>

#include "unit/policy/dumps.hpp"

int main(int count, char** words) {
  using namespace cloister;
  if (count != 2) return 2;
  const std::string folder = words[1];
  std::ofstream(folder + "/raw", std::ios::binary) << tests::raw_dump;
  std::ofstream(folder + "/aida", std::ios::binary) << tests::aida_dump;
  std::ofstream(folder + "/instlat", std::ios::binary) << tests::instlat_dump;
  return 0;
}
