// Laying out a new domain: RAM and EPC in its second-level translation, ACPI tables, kernel, and the processor's state
// at a PVH entry.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

tl::expected<void, std::string> boot(Machine& machine);
/// The same without tables and kernel: RAM is all zeros, and processors are as after power-up.
tl::expected<void, std::string> lay_out(Machine& machine);

/// 32-bit flat protected mode, paging off.
void set_flat_entry(vmx::Vcpu& vcpu, u64 rip);
/// Xen's PVH entry: the same, with EBX = start_info (Xen's docs/misc/pvh.pandoc).
void set_pvh_entry(vmx::Vcpu& vcpu, const platform::PvhBoot& entry);

/// Gives each processor the launch-key hash of the domain's policy: EINIT reads it there without an exit.
tl::expected<void, std::string> load_launch_hash(Machine& machine);

}  // namespace cloister::hypervisor
