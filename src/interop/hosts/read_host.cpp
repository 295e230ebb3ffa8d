// A format is recognised by what its files begin with: XML by '<', JSON by '{' or '[', and a CPUID dump by the first of
// its lines; what is none of them may have lines that tell of SGX in words.
#include <algorithm>
#include <utility>

#include "arch/try.hpp"
#include "host/whole_file.hpp"
#include "interop/hosts/formats.hpp"
#include "interop/hosts/hosts.hpp"
#include "interop/vm/kinds.hpp"

namespace cloister::toolstack {

std::string hosts::shown(std::string_view text) {
  constexpr std::size_t longest = 60;
  std::string result;
  for (const char c : text.substr(0, longest)) result += c >= ' ' && c <= '~' ? c : '?';
  return text.size() > longest ? result + "…" : result;
}

namespace {

constexpr const char* expected_formats =
    "expected a CPUID dump (of 'cpuid -r', 'xen-cpuid -p', AIDA64 or InstLatX64), libvirt's <domainCapabilities>, "
    "<capabilities>, <qemuCaps> or <cpudata>, QEMU's answer to query-sgx-capabilities or query-cpu-model-expansion, or "
    "what cpuid, test-sgx, is-sgx-available, /proc/cpuinfo, lscpu, QEMU's 'info sgx' or the kernel's log say of SGX";

/// "[    0.4] sgx: …", "[Mon Nov  2 …] sgx: …" and "<6>[    0.4] sgx: …", as dmesg prints the kernel's log by itself,
/// with -T and with -r.
bool begins_as_log(std::string_view text) {
  const auto is = [&](std::size_t at, auto... kinds) { return at < text.size() && (... || kinds(text[at])); };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (text.starts_with('<')) return is(1, digit);
  return text.starts_with('[') && is(text.find_first_not_of(" \t", 1), digit, capital);
}

tl::expected<policy::HostView, Diagnostic> read(std::string_view bytes) {
  const std::string_view text = vm::without_prompt(TRY(vm::without_mark(bytes)));
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return tl::unexpected(Diagnostic{{}, std::string("found nothing, ") + expected_formats});
  const bool is_log = begins_as_log(text.substr(first));
  if (text[first] == '<' && !is_log) return hosts::read_libvirt(text);
  if (const auto lines = hosts::lscpu_text(text)) return read(*lines);
  if (text[first] == '{' || (text[first] == '[' && !is_log)) return hosts::read_qemu(text);
  if (hosts::is_decoded(text)) {
    policy::HostView host = hosts::read_decoded(text);
    const std::string more = hosts::read_reports(text, host);
    if (!more.empty()) host.source = more.find(host.source) == more.npos ? host.source + " and " + more : more;
    if (!host.cpus.empty()) return host;
  }
  if (policy::is_cpuid_dump(text)) return hosts::read_leaves(text);
  policy::HostView host;
  host.source = hosts::read_reports(text, host);
  // These speak of the processor, and others of what guests are offered.
  constexpr std::string_view processors[] = {"'cpuid' without -r", "test-sgx", "/proc/cpuinfo", "lscpu"};
  if (std::ranges::find(processors, host.source) != std::end(processors))
    host.cpus.push_back({0, std::exchange(host.named, {})});
  if (!host.cpus.empty() || !host.named.leaves().empty() || host.epc) return host;
  return tl::unexpected(Diagnostic{{}, std::string("found none of the formats, ") + expected_formats});
}

}  // namespace

tl::expected<policy::HostView, Diagnostic> read_host(std::string_view text, const std::string& name) {
  auto host = read(text);
  if (host) host->name = name;
  return host;
}

tl::expected<policy::HostView, std::string> load_host(const std::string& path) {
  if (path == "host" || path == "-") return this_host_view();
  const auto bytes = read_within(path, longest_text);
  if (!bytes) return tl::unexpected(format(path, {{}, "cannot read: " + bytes.error()}));
  auto host = read_host({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, path);
  if (!host) return tl::unexpected(format(path, host.error()));
  return std::move(*host);
}

}  // namespace cloister::toolstack
