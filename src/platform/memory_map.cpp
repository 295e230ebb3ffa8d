// The layout of memory_map.hpp, worked out from two sizes.
#include "platform/memory_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "platform/acpi.hpp"
#include "platform/apic.hpp"
#include "platform/bytes.hpp"
#include "platform/ioapic.hpp"

namespace cloister::platform {
namespace {

constexpr u64 mebibyte = u64{1} << 20, gibibyte = u64{1} << 30;
constexpr unsigned widest_physical_bits = 52;  // SDM vol. 3A, 4.1.4

}  // namespace

tl::expected<MemoryMap, std::string> make_memory_map(u64 memory_bytes, u64 epc_bytes, unsigned max_physical_bits) {
  const unsigned max_bits = std::min(max_physical_bits, widest_physical_bits);
  const u64 space = u64{1} << max_bits;
  if (memory_bytes % mebibyte || memory_bytes < 2 * mebibyte)
    return tl::unexpected(fmt::format("memory: {} bytes; expected a multiple of 1 MiB, 2 MiB at least", memory_bytes));
  if (epc_bytes % mebibyte)
    return tl::unexpected(fmt::format("epc: {} bytes; expected a multiple of 1 MiB", epc_bytes));
  for (const auto& [what, bytes] : {std::pair{"memory", memory_bytes}, std::pair{"epc", epc_bytes}})
    if (bytes > space)
      return tl::unexpected(fmt::format("{}: {} MiB do not fit in the processor's {} physical address bits", what,
                                        bytes / mebibyte, max_bits));

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
  if (epc_bytes) {
    const u64 base = align_up(end, std::min(std::bit_ceil(epc_bytes), gibibyte));
    end = base + epc_bytes;
    add(base, end, MapType::reserved);
    map.epc.push_back({arch::Gpa{base}, epc_bytes});
  }
  map.physical_bits = static_cast<unsigned>(std::bit_width(end - 1));
  if (map.physical_bits > max_bits)
    return tl::unexpected(
        fmt::format("memory {} MiB and epc {} MiB: the map ends at {:#x} and needs {} physical address bits; "
                    "the processor has {}",
                    memory_bytes / mebibyte, epc_bytes / mebibyte, end, map.physical_bits, max_bits));
  return map;
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

}  // namespace cloister::platform
