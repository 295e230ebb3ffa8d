// CPUID dumps that people publish: the output of `cpuid -r`, and the files of AIDA64 and InstLatX64. The text is a
// stranger's: any bytes give a dump or one error.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::policy {

/// One logical processor, with the leaves that the dump shows, also those of zeros.
struct DumpedCpu {
  u32 number = 0;  ///< as the dump counts
  CpuidTable table;
};

struct CpuidDump {
  std::vector<DumpedCpu> cpus;  ///< at least one, each with at least one leaf; in the order of the text
};

struct DumpError {
  u32 line = 0;  ///< counted from 1
  std::string message;
};

/// Some line belongs to one of the formats.
bool is_cpuid_dump(std::string_view text);

/// Recognises the format by the first line that belongs to one.
tl::expected<CpuidDump, DumpError> read_cpuid_dump(std::string_view text);

/// Numbers of the processors whose SGX differs from the first's: leaf 12H, and SGX's bits of leaf 7. Other leaves
/// differ between the processors of one machine, as APIC IDs do.
std::vector<u32> sgx_disagreements(const CpuidDump& dump);

}  // namespace cloister::policy
