// Hosts to ask about SGX: this one, or a file that tells of another. The format of a file is recognised.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "machine/host_epc.hpp"
#include "policy/host_view.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// `cpuid -r`, AIDA64 or InstLatX64, libvirt's cputestdata or <domainCapabilities>, QEMU's answers to
/// query-sgx-capabilities and query-cpu-model-expansion (also several answers in one file). Pure.
tl::expected<policy::HostView, Diagnostic> read_host(std::string_view text, const std::string& name);

/// Asks every processor of this host, its devices, its NUMA nodes and, where they can be read, its MSRs.
policy::HostView this_host_view();
/// The same from other facts, with /dev and /sys below `root`, which has no '/' at its end.
policy::HostView host_view(const HostFacts& facts, const std::string& root);

/// "host" or "-": this host; anything else is a file. The error is a line for a person.
tl::expected<policy::HostView, std::string> load_host(const std::string& path);

}  // namespace cloister::toolstack
