// Laying out a new domain: RAM and EPC in its second-level translation, ACPI tables, kernel, and the processor's state
// at a PVH entry.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

tl::expected<void, std::string> boot(Machine& machine);

/// Xen's PVH entry: 32-bit flat protected mode, paging off, EBX = start_info (Xen's docs/misc/pvh.pandoc).
void set_pvh_entry(vmx::Vcpu& vcpu, const platform::PvhBoot& entry);

}  // namespace cloister::hypervisor
