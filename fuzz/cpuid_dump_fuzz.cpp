// Fuzzes the reader of CPUID dumps: any bytes give processors with leaves, or one error at a line of the text; and what
// follows from the leaves takes any values.
#include <algorithm>

#include "check.hpp"
#include "policy/cpuid_dump.hpp"
#include "policy/descriptions.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
  const auto dump = policy::read_cpuid_dump(text);
  if (!dump) {
    check(dump.error().line >= 1 && dump.error().line <= lines && dump.error().message.find("found") == 0);
    return 0;
  }
  check(!dump->cpus.empty() && dump->cpus.size() <= lines);
  for (const policy::DumpedCpu& cpu : dump->cpus) check(!cpu.table.leaves().empty());
  check(policy::sgx_disagreements(*dump).size() < dump->cpus.size());
  const policy::CpuidTable& leaves = dump->cpus.front().table;
  static_cast<void>(policy::sgx_state(leaves));
  check(policy::brand_of(leaves).size() <= 48);
  check(policy::compare(leaves, leaves) == policy::Masking{});
  return 0;
}
