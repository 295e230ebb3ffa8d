// ACPI tables of a machine (ACPI 6.4, ch. 5): RSDP, XSDT, FADT, FACS, MADT, SRAT, DSDT with the UART (PNP0501), the
// clock (PNP0B00), pvpanic (QEMU0001), the types of sleep, with EPC the device INT0E0C that Windows' driver insists on,
// and with a PCI bus its host bridge (PNP0A08) and MCFG.
#pragma once

#include <array>
#include <cstddef>
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

/// The Firmware ACPI Control Structure (table 5.12), at facs_base. What a kernel writes here before it sleeps is read
/// when it is woken.
struct Facs {
  std::array<char, 4> signature{'F', 'A', 'C', 'S'};
  u32 length = 64;
  u32 hardware_signature = 0;
  u32 waking_vector = 0;  ///< below 1 MiB, and entered in real mode
  u32 global_lock = 0;
  u32 flags = 0;
  u64 x_waking_vector = 0;  ///< 0, or counts instead, and is entered in flat protected mode
  u8 version = 2;
  std::array<u8, 3> reserved{};
  u32 ospm_flags = 0;
  std::array<u8, 24> more_reserved{};
};
static_assert(sizeof(Facs) == 64 && offsetof(Facs, waking_vector) == 12 && offsetof(Facs, x_waking_vector) == 24 &&
              offsetof(Facs, version) == 32 && offsetof(Facs, ospm_flags) == 36);

AcpiTables make_acpi(const AcpiConfig& config);

}  // namespace cloister::platform
