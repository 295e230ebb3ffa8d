// CPUID dumps, which policy/cpuid_dump.hpp reads.
#include "interop/hosts/formats.hpp"

namespace cloister::toolstack::hosts {

tl::expected<policy::HostView, Diagnostic> read_leaves(std::string_view text) {
  auto dump = policy::read_cpuid_dump(text);
  if (!dump) return tl::unexpected(Diagnostic{{dump.error().line, 1}, dump.error().message});
  policy::HostView host;
  host.source = "a CPUID dump";
  host.cpus = std::move(dump->cpus);
  // A dump has room for what else people print: MSRs, the kernel's sections.
  if (const std::string more = read_reports(text, host); !more.empty()) host.source += " and " + more;
  return host;
}

}  // namespace cloister::toolstack::hosts
