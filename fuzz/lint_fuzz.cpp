// Fuzzes lint: any bytes are read in some format or refused inside the text, and what every rule finds can be shown.
#include <algorithm>
#include <string_view>

#include "check.hpp"
#include "interop/lint/rules.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  namespace lint = toolstack::lint;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto shows = [](std::string_view message) {
    return !message.empty() &&
           std::ranges::none_of(message, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
  };
  const auto subject = lint::read_subject(text);
  if (!subject) {
    check(subject.error().at.line <= static_cast<u32>(std::ranges::count(text, '\n')) + 1);
    check(shows(subject.error().message));
    return 0;
  }
  policy::HostView host;
  host.name = "host";
  host.environment.emplace();
  host.environment->node_bytes = {{0, 1}, {1, 1}};
  policy::SgxReport report;
  report.launch = policy::LaunchCase::locked;
  policy::CpuMap map;
  map.features.push_back({.name = "sgx", .aliases = {}, .cpuid = {}, .msr = {}, .migratable = true});
  for (const lint::Case& by : {lint::Case{*subject}, lint::Case{*subject, &host, &report, &map}})
    for (const lint::Finding& finding : lint::lint(by)) check(shows(finding.message) && shows(finding.mend));
  return 0;
}
