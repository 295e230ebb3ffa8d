// Fuzzes the reader of policies: any bytes give a wish, which can be checked against a host and printed, or one
// printable line.
#include <cstdint>
#include <string_view>

#include "check.hpp"
#include "interop/cpu/pool.hpp"
#include "silicon/backend.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  static const policy::CpuMap map = [] {
    policy::CpuMap made = policy::map_of_features();
    made.models.push_back({"Skylake-Client-IBRS", "Intel", {0x506e0}, {"fpu", "sse2", "avx2", "spec-ctrl"}});
    return made;
  }();
  static const policy::HostView host = [] {
    policy::HostView made;
    made.name = "host";
    made.source = "CPUID";
    made.cpus.push_back({0, policy::leaves_of(*policy::find_description("icelake-server"))});
    return made;
  }();

  const auto printable = [](const std::string& line) {
    for (const char c : line) check(static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
  };
  const auto asked =
      toolstack::cpu::read_policy({reinterpret_cast<const char*>(data), size}, "policy", map, silicon::backend());
  if (!asked) {
    check(asked.error().starts_with("policy"));
    printable(asked.error());
    return 0;
  }
  const auto checked = policy::check(host, asked->wish, map);
  if (!checked) {
    check(!checked.error().empty());
    for (const policy::UnknownName& unknown : checked.error()) check(unknown.nearest.size() <= 3);
    return 0;
  }
  const policy::SgxReport report = policy::sgx_report(host);
  for (const char c : toolstack::cpu::check_text(host, *checked, report)) {
    check(c == '\n' || static_cast<unsigned char>(c) >= ' ');
  }
  check(toolstack::cpu::check_json(host, *checked, report).contains("all"));
  return 0;
}
