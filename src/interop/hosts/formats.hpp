// The formats in which hosts are described, a reader for each. The text is a stranger's: any bytes give a host or one
// error. The host's name is left empty.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "policy/host_view.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::hosts {

/// `cpuid -r`, AIDA64, InstLatX64.
tl::expected<policy::HostView, Diagnostic> read_leaves(std::string_view text);
/// CPUID in words leaf by leaf: cpuid without -r, test-sgx 2.0. What they leave out is unknown.
bool is_decoded(std::string_view text);
policy::HostView read_decoded(std::string_view text);
/// XML of libvirt: <cpudata>, <cpu>, <capabilities>, <domainCapabilities>.
tl::expected<policy::HostView, Diagnostic> read_libvirt(std::string_view text);
/// QEMU's answers in JSON, one or several.
tl::expected<policy::HostView, Diagnostic> read_qemu(std::string_view text);

/// What `lscpu -J` says, as lscpu says it without -J; nullopt: it is something else.
std::optional<std::string> lscpu_text(std::string_view json);
/// What programs print of SGX in words, and MSRs as rdmsr does, wherever it stands in the text; whose words were found.
std::string read_reports(std::string_view text, policy::HostView& host);

/// "0x" may stand before it.
std::optional<u64> hexadecimal(std::string_view text);
/// A stranger's text in a message: short, and printable.
std::string shown(std::string_view text);

}  // namespace cloister::toolstack::hosts
