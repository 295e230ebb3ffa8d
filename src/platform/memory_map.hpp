// Where a domain's RAM, holes and EPC lie in guest-physical space, and the e820 types of that map (ACPI 6.4, 15.1).
//
// RAM below the hole starts at 0 and ends at 3 GiB at most; the rest starts at 4 GiB. EPC sections lie above all RAM
// and 4 GiB, one after the other, each aligned to its size rounded up to a power of two, 1 GiB at most. Where there is
// a PCI bus its memory is in the hole below 4 GiB, and above all else.
//
// The first mebibyte is that of a PC: RAM to 0xA0000, then a hole, reserved but for the ACPI tables in it. The hole is
// part of the domain's memory: there is RAM behind it (ram_backing), it is just not reported as such.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"

namespace cloister::platform {

/// Where the tables go: at the top of the first mebibyte, in the memory map as ACPI data. The last page is ACPI NVS:
/// the FACS lies there, which must outlive the tables (ACPI 6.4, 5.2.10).
inline constexpr u64 acpi_base = 0xe'0000, acpi_bytes = 0x1'0000;
inline constexpr u64 facs_base = acpi_base + acpi_bytes - arch::page_size;

enum class MapType : u32 { ram = 1, reserved = 2, acpi = 3, nvs = 4 };

struct MapEntry {
  arch::Gpa base;
  u64 bytes = 0;
  MapType type = MapType::ram;
  bool operator==(const MapEntry&) const = default;
};

struct EpcRange {
  arch::Gpa base;
  u64 bytes = 0;
  u32 node = 0;  ///< NUMA node
  bool operator==(const EpcRange&) const = default;
};

/// The hole below 1 MiB.
inline constexpr u64 legacy_hole_base = 0xa'0000, legacy_hole_end = 0x10'0000;
/// The hole below 4 GiB.
inline constexpr u64 mmio_hole_base = 0xc000'0000, mmio_hole_end = 0x1'0000'0000;

/// What a PCI host bridge answers to: configuration space as memory (ECAM), reserved, and the places of functions'
/// memory below and above 4 GiB.
struct PciWindows {
  arch::Gpa ecam{0xe000'0000};
  u64 ecam_bytes = u64{1} << 20;  ///< of one bus
  arch::Gpa low{0xc000'0000};
  u64 low_bytes = u64{512} << 20;
  arch::Gpa high;
  u64 high_bytes = u64{1} << 30;
  bool operator==(const PciWindows&) const = default;
};

struct MemoryMap {
  std::vector<MapEntry> entries;  ///< sorted, disjoint: what e820 and PVH report
  std::vector<EpcRange> epc;      ///< also in entries, as reserved
  unsigned physical_bits = 0;     ///< bits that cover all of it, 32 at least
  std::optional<PciWindows> pci;  ///< absent: the machine has no bus
};

/// A section of EPC that is to have a place.
struct EpcSize {
  u64 bytes = 0;
  u32 node = 0;  ///< NUMA node; nodes are numbered from 0
};

/// Bytes are multiples of 1 MiB; memory 2 MiB at least. max_physical_bits: of the processor (CPUID 0x80000008). An
/// error says what does not fit.
tl::expected<MemoryMap, std::string> make_memory_map(u64 memory_bytes, std::span<const EpcSize> epc,
                                                     unsigned max_physical_bits);
/// With one section of EPC in node 0; 0 bytes: none.
tl::expected<MemoryMap, std::string> make_memory_map(u64 memory_bytes, u64 epc_bytes, unsigned max_physical_bits);

/// Gives the map a PCI bus, behind all that is there. An error says what does not fit.
tl::expected<void, std::string> add_pci(MemoryMap& map, unsigned max_physical_bits);

/// The ranges that need RAM behind them, legacy hole and ACPI tables included; their sum is the domain's memory.
std::vector<MapEntry> ram_backing(const MemoryMap& map);

/// NUMA nodes: as many as the EPC names, one at least.
u32 nodes_of(const MemoryMap& map);

struct NodeRange {
  arch::Gpa base;
  u64 bytes = 0;
  u32 node = 0;
  bool operator==(const NodeRange&) const = default;
};
/// The RAM of ram_backing() in equal shares for the NUMA nodes, node 0 first.
std::vector<NodeRange> ram_by_node(const MemoryMap& map);

}  // namespace cloister::platform
