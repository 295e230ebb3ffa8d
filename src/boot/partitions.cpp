// Sectors have 512 bytes, which is what a domain's disks have.
#include "boot/partitions.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace cloister::boot {

namespace {

constexpr u64 sector = 512;
using Sector = std::array<u8, sector>;

u64 number_at(std::span<const u8> bytes, std::size_t at, std::size_t length) {
  u64 number = 0;
  for (std::size_t i = length; i-- > 0;) number = number << 8 | bytes[at + i];
  return number;
}

/// Of so many sectors from the first one on, as much as the disk has of them.
void add(std::vector<Part>& parts, const Disk& disk, u64 first, u64 sectors, u32 number) {
  const u64 all = disk.bytes() / sector;
  if (first == 0 || first >= all || sectors == 0) return;
  parts.push_back({.start = first * sector, .bytes = std::min(sectors, all - first) * sector, .number = number});
}

std::vector<Part> read_gpt(Disk& disk) {
  Sector header{};
  constexpr char signature[] = {'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'};
  if (!disk.read(sector, header) || std::memcmp(header.data(), signature, sizeof signature) != 0) return {};
  constexpr u64 least_entry = 128, longest_entry = 4096;
  const u64 entries = number_at(header, 72, 8), count = number_at(header, 80, 4), length = number_at(header, 84, 4);
  if (length < least_entry || length > longest_entry || entries >= disk.bytes() / sector) return {};
  std::vector<Part> parts;
  for (u32 i = 0; i < std::min<u64>(count, most_partitions); ++i) {
    std::array<u8, least_entry> entry{};
    if (!disk.read(entries * sector + i * length, entry)) break;
    const bool used = std::ranges::any_of(std::span(entry).first(16), [](u8 byte) { return byte != 0; });
    const u64 first = number_at(entry, 32, 8), last = number_at(entry, 40, 8);
    if (used && last >= first) add(parts, disk, first, last - first + 1, i + 1);
  }
  return parts;
}

struct MbrEntry {
  u8 type;
  u64 first, sectors;
  bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

MbrEntry mbr_entry(const Sector& table, std::size_t index) {
  const std::size_t at = 446 + 16 * index;
  return {.type = table[at + 4], .first = number_at(table, at + 8, 4), .sectors = number_at(table, at + 12, 4)};
}

bool read_table(Disk& disk, u64 at, Sector& table) {
  return disk.read(at * sector, table) && table[510] == 0x55 && table[511] == 0xaa;
}

/// A chain of tables, each with a partition and where the next one is; a circle ends with the count.
void add_logical(std::vector<Part>& parts, Disk& disk, u64 extended) {
  constexpr u32 first_number = 5;
  Sector table{};
  u64 at = extended;
  for (u32 i = 0; i < most_partitions && read_table(disk, at, table); ++i) {
    const MbrEntry own = mbr_entry(table, 0), next = mbr_entry(table, 1);
    if (own.type != 0) add(parts, disk, at + own.first, own.sectors, first_number + i);
    if (!next.is_extended() || next.first == 0) return;
    at = extended + next.first;
  }
}

}  // namespace

std::vector<Part> partitions_of(Disk& disk) {
  Sector table{};
  if (!read_table(disk, 0, table)) return {};
  constexpr u8 protective = 0xee;
  for (std::size_t i = 0; i < 4; ++i) {
    if (mbr_entry(table, i).type == protective) return read_gpt(disk);
  }
  std::vector<Part> parts;
  u64 extended = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const MbrEntry entry = mbr_entry(table, i);
    if (entry.is_extended()) extended = entry.first;
    if (entry.type != 0 && !entry.is_extended()) add(parts, disk, entry.first, entry.sectors, static_cast<u32>(i) + 1);
  }
  if (extended != 0) add_logical(parts, disk, extended);
  return parts;
}

}  // namespace cloister::boot
