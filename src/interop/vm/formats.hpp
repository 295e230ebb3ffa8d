// The readers and renderers of virtual machines, one file a format. Readers take a stranger's text: any bytes give a Vm
// or one error with its position. Renderers are pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "interop/vm/vm.hpp"
#include "policy/cpu_map.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack::vm {

// A domain's configuration (docs/configuration.md): xl.cfg's syntax.
/// `silicon` becomes a CPU model, the domain's SGX policy its features.
tl::expected<Vm, Diagnostic> from_config(const DomainConfig& config, const vmx::Backend& silicon);
/// A configuration that read_config() takes, and whose Vm is this one.
Rendered to_config(const Vm& vm, const vmx::Backend& silicon);
/// Xen's own xl.cfg: `epc`, `cpuid` and the clock, in the words that xl has.
Rendered to_xl(const Vm& vm);

// libvirt's domain XML (https://libvirt.org/formatdomain.html).
tl::expected<ReadVm, Diagnostic> from_libvirt(std::string_view xml);
Rendered to_libvirt(const Vm& vm);
/// In the words of the libvirt that has this map; null, and above: any from 9.0 on.
Rendered to_libvirt_of(const Vm& vm, const policy::CpuMap* map);

// QEMU's command line: arguments in the order of argv, without the program itself.
tl::expected<ReadVm, Diagnostic> from_qemu(const std::vector<std::string>& argv);
/// The same with what stands before the arguments: the program, if there is one, and what runs it.
tl::expected<ReadVm, Diagnostic> from_qemu_command(const std::vector<std::string>& argv);
/// A command of QEMU's or of Cloud Hypervisor's.
tl::expected<ReadVm, Diagnostic> from_command(const std::vector<std::string>& argv);
/// What arguments change of a machine that has been described otherwise, as those of libvirt's <qemu:commandline>: the
/// last -cpu counts, and EPC is added. `nodes`: the machine has NUMA nodes already.
tl::expected<ReadVm, Diagnostic> with_arguments(Vm vm, bool nodes, const std::vector<std::string>& argv);
/// Lines for a shell, one option a line.
Rendered to_qemu(const Vm& vm);
std::vector<std::string> qemu_argv(const Vm& vm);
/// A text with an argv: bytes of /proc/PID/cmdline, a shell's command with quotes and continued lines, or libvirt's log
/// of a domain, of which the last start counts. The program stays its first element.
tl::expected<std::vector<std::string>, Diagnostic> read_argv(std::string_view text);
/// That a log has other starts than the one that was read.
std::optional<Diagnostic> earlier_starts(std::string_view text);

// nova.conf and a flavor's extra specs; with the libvirt fragment for what Nova has no word for.
Rendered to_nova(const Vm& vm);
Rendered to_nova_of(const Vm& vm, const policy::CpuMap* map);

}  // namespace cloister::toolstack::vm
