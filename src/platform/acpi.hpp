// ACPI tables for a hardware-reduced machine (ACPI 6.4, ch. 5): RSDP, XSDT, FADT, FACS, MADT, SRAT, DSDT with the UART
// (PNP0501), the clock (PNP0B00), pvpanic (QEMU0001), the power button with its event device, and, with EPC, the device
// INT0E0C that Windows' driver insists on.
#pragma once

#include <vector>

#include "arch/types.hpp"
#include "platform/memory_map.hpp"

namespace cloister::platform {

struct AcpiConfig {
  u32 vcpus = 1;  ///< 1 to 255; their APIC IDs are 0 to vcpus - 1
  MemoryMap map;
};

struct AcpiTables {
  arch::Gpa rsdp;
  std::vector<u8> image;  ///< to be placed at acpi_base; acpi_bytes long at most
};

AcpiTables make_acpi(const AcpiConfig& config);

}  // namespace cloister::platform
