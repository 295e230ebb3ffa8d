// Fuzzes the configuration parser: any bytes give a domain or one error with a position inside the file, and a domain
// that was read keeps the bounds that docs/configuration.md gives.
#include <algorithm>
#include <string_view>

#include "check.hpp"
#include "config/config.hpp"
#include "config/cpuid_string.hpp"
#include "plan/chosen_silicon.hpp"
#include "policy/descriptions.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
  const auto inside = [&](toolstack::Position at) { return at.line <= lines && at.column <= size + 1; };

  const auto read = toolstack::read_config(text);
  if (!read) {
    check(inside(read.error().at) && !read.error().message.empty());
  } else {
    const toolstack::DomainConfig& config = read->config;
    check(!config.name.empty() && config.name.find('/') == std::string::npos && !config.kernel.empty());
    check(config.memory_mib >= 16 && config.memory_mib <= 1 << 20 && config.epc_mib() <= 1 << 20);
    check(config.vcpus >= 1 && config.vcpus <= 16);
    check(config.epc.size() <= toolstack::most_epc_sections);
    for (const toolstack::EpcSection& section : config.epc)
      check(section.mib > 0 && section.package.value_or(0) <= 255);
    const std::string& silicon = config.silicon;
    check(silicon == "default" || toolstack::names_a_dump(silicon) || toolstack::names_a_model(silicon) ||
          policy::find_description(silicon) != nullptr);
    for (const toolstack::Diagnostic& warning : read->warnings) check(inside(warning.at));
  }
  if (const auto overrides = toolstack::read_cpuid_string(text)) {
    for (const policy::CpuidOverride& o : *overrides) check(policy::find_feature(o.feature) != nullptr);
  }
  return 0;
}
