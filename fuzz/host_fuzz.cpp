// Fuzzes the reader of hosts: any bytes give a host, of which a report can be made and printed, or one printable error
// inside the text.
#include <algorithm>
#include <string_view>

#include "check.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/probe.hpp"
#include "interop/hosts/hosts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto host = toolstack::read_host(text, "host");
  if (!host) {
    const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
    const toolstack::Position at = host.error().at;
    check(at.line <= lines && at.column <= size + 1 && !host.error().message.empty());
    for (const char c : host.error().message) check(c != '\n' && c != '\0');
    return 0;
  }
  check(host->name == "host" && !host->source.empty() && !host->environment);
  const policy::SgxReport report = policy::sgx_report(*host);
  check(!report.usable || (report.sections && !report.sections->empty()));
  const std::string printed = toolstack::cpu::probe_text(*host, report);
  // What is printed is ours, but for ellipses of what was cut.
  for (const char c : printed) check(c == '\n' || static_cast<unsigned char>(c) >= ' ');
  check(!toolstack::cpu::probe_json(*host, report).dump().empty());
  return 0;
}
