// The layout of memory_map.hpp, worked out from two sizes.
#include "platform/memory_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "platform/apic.hpp"
#include "platform/bytes.hpp"
#include "platform/ioapic.hpp"

namespace cloister::platform {
namespace {

constexpr u64 mebibyte = u64{1} << 20, memory_section = u64{128} << 20, gibibyte = u64{1} << 30;
constexpr unsigned widest_physical_bits = 52;  // SDM vol. 3A, 4.1.4

}  // namespace

tl::expected<MemoryMap, std::string> make_memory_map(u64 memory_bytes, u64 epc_bytes, unsigned max_physical_bits) {
  const EpcSize section{.bytes = epc_bytes};
  return make_memory_map(memory_bytes, std::span(&section, epc_bytes != 0 ? 1 : 0), max_physical_bits);
}

tl::expected<MemoryMap, std::string> make_memory_map(u64 memory_bytes, std::span<const EpcSize> epc,
                                                     unsigned max_physical_bits) {
  const unsigned max_bits = std::min(max_physical_bits, widest_physical_bits);
  const u64 space = u64{1} << max_bits;
  if (memory_bytes % mebibyte || memory_bytes < 2 * mebibyte)
    return tl::unexpected(fmt::format("memory: {} bytes; expected a multiple of 1 MiB, 2 MiB at least", memory_bytes));
  const auto too_large = [&](const char* what, u64 bytes) {
    return tl::unexpected(fmt::format("{}: {} MiB do not fit in the processor's {} physical address bits", what,
                                      bytes / mebibyte, max_bits));
  };
  if (memory_bytes > space) return too_large("memory", memory_bytes);
  u64 epc_bytes = 0;
  for (const EpcSize& section : epc) {
    if (section.bytes % mebibyte || section.bytes == 0)
      return tl::unexpected(fmt::format("epc: {} bytes; expected a multiple of 1 MiB", section.bytes));
    if (section.bytes > space || epc_bytes > space - section.bytes) return too_large("epc", section.bytes);
    epc_bytes += section.bytes;
  }

  const u64 low = std::min(memory_bytes, mmio_hole_base), high = memory_bytes - low;
  MemoryMap map;
  auto add = [&map](u64 base, u64 end, MapType type) {
    if (end > base) map.entries.push_back({arch::Gpa{base}, end - base, type});
  };
  add(0, legacy_hole_base, MapType::ram);
  add(legacy_hole_base, acpi_base, MapType::reserved);
  add(acpi_base, facs_base, MapType::acpi);
  add(facs_base, acpi_base + acpi_bytes, MapType::nvs);
  add(acpi_base + acpi_bytes, legacy_hole_end, MapType::reserved);
  add(legacy_hole_end, low, MapType::ram);
  add(ioapic_base, ioapic_base + ioapic_bytes, MapType::reserved);
  add(apic_default_base, apic_default_base + arch::page_size, MapType::reserved);
  add(mmio_hole_end, mmio_hole_end + high, MapType::ram);

  u64 end = mmio_hole_end + high;
  for (const EpcSize& section : epc) {
    const u64 base = align_up(end, std::min(std::bit_ceil(section.bytes), gibibyte));
    end = base + section.bytes;
    add(base, end, MapType::reserved);
    map.epc.push_back({arch::Gpa{base}, section.bytes, section.node});
  }
  map.physical_bits = static_cast<unsigned>(std::bit_width(end - 1));
  if (map.physical_bits > max_bits)
    return tl::unexpected(
        fmt::format("memory {} MiB and epc {} MiB: the map ends at {:#x} and needs {} physical address bits; "
                    "the processor has {}",
                    memory_bytes / mebibyte, epc_bytes / mebibyte, end, map.physical_bits, max_bits));
  return map;
}

tl::expected<void, std::string> add_pci(MemoryMap& map, unsigned max_physical_bits) {
  const unsigned max_bits = std::min(max_physical_bits, widest_physical_bits);
  const MapEntry& last = map.entries.back();
  PciWindows windows;
  windows.high = arch::Gpa{align_up(std::max(last.base.value + last.bytes, mmio_hole_end), windows.high_bytes)};
  const u64 end = windows.high.value + windows.high_bytes;
  const unsigned bits = static_cast<unsigned>(std::bit_width(end - 1));
  if (bits > max_bits)
    return tl::unexpected(
        fmt::format("a PCI bus: its memory ends at {:#x} and needs {} physical address bits; the processor has {}", end,
                    bits, max_bits));
  const auto behind = std::ranges::find_if(map.entries, [&](const MapEntry& e) { return e.base > windows.ecam; });
  map.entries.insert(behind, {windows.ecam, windows.ecam_bytes, MapType::reserved});
  map.physical_bits = bits;
  map.pci = windows;
  return {};
}

std::vector<MapEntry> ram_backing(const MemoryMap& map) {
  u64 low_end = 0, high_bytes = 0;
  for (const MapEntry& entry : map.entries) {
    if (entry.type != MapType::ram) continue;
    if (entry.base.value < mmio_hole_end)
      low_end = std::max(low_end, entry.base.value + entry.bytes);
    else
      high_bytes += entry.bytes;
  }
  std::vector<MapEntry> ranges{{arch::Gpa{0}, low_end, MapType::ram}};
  if (high_bytes) ranges.push_back({arch::Gpa{mmio_hole_end}, high_bytes, MapType::ram});
  return ranges;
}

u32 nodes_of(const MemoryMap& map) {
  u32 nodes = 1;
  for (const EpcRange& range : map.epc) nodes = std::max(nodes, range.node + 1);
  return nodes;
}

std::vector<NodeRange> ram_by_node(const MemoryMap& map) {
  const std::vector<MapEntry> backing = ram_backing(map);
  const u32 nodes = nodes_of(map);
  u64 all = 0;
  for (const MapEntry& range : backing) all += range.bytes;
  // Linux cuts memory into sections of 128 MiB, which are simpler for it whole.
  const u64 share = all / nodes, unit = share >= memory_section ? memory_section : mebibyte;
  const u64 each = share / unit * unit;

  std::vector<NodeRange> result;
  u32 node = 0;
  u64 left = each;  // of this node's share
  for (const MapEntry& range : backing) {
    for (u64 done = 0; done < range.bytes;) {
      const u64 bytes = node + 1 == nodes ? range.bytes - done : std::min(left, range.bytes - done);
      result.push_back({range.base + done, bytes, node});
      done += bytes;
      left -= std::min(left, bytes);
      if (left == 0 && node + 1 < nodes) {
        ++node;
        left = each;
      }
    }
  }
  return result;
}

}  // namespace cloister::platform
