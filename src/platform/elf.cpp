// ELF32 and ELF64 differ in the places and widths of their fields only: Layout is that difference.
#include "platform/elf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "arch/try.hpp"
#include "platform/bytes.hpp"

namespace cloister::platform {
namespace {

using Failure = tl::unexpected<std::string>;

struct Field {
  u64 offset;
  unsigned bytes;
};

struct Layout {
  u64 header_bytes, segment_bytes;
  Field phoff, phentsize, phnum;                     // of the file header
  Field offset, physical, filesz, memsz, alignment;  // of a program header
};

constexpr Layout elf32{52, 32, {28, 4}, {42, 2}, {44, 2}, {4, 4}, {12, 4}, {16, 4}, {20, 4}, {28, 4}};
constexpr Layout elf64{64, 56, {32, 8}, {54, 2}, {56, 2}, {8, 8}, {24, 8}, {32, 8}, {40, 8}, {48, 8}};

constexpr u8 class_32 = 1, class_64 = 2, little_endian = 1;
constexpr u16 type_exec = 2, type_dyn = 3, machine_386 = 3, machine_x86_64 = 62;
constexpr u32 pt_load = 1, pt_note = 4;
constexpr u32 xen_phys32_entry = 18;
constexpr u64 identification_bytes = 20;  // e_ident, e_type and e_machine: the same in both classes

u64 get(std::span<const u8> bytes, u64 base, Field field) {
  switch (field.bytes) {
    case 2: return load<u16>(bytes, base + field.offset);
    case 4: return load<u32>(bytes, base + field.offset);
    default: return load<u64>(bytes, base + field.offset);
  }
}

tl::expected<const Layout*, std::string> layout_of(std::span<const u8> file) {
  if (file.size() < identification_bytes)
    return Failure(fmt::format("kernel: the ELF has {:#x} bytes, too few for its header", file.size()));
  const u8 file_class = file[4], data = file[5];
  if ((file_class != class_32 && file_class != class_64) || data != little_endian)
    return Failure(
        fmt::format("kernel: ELF class {} with data encoding {}; expected class 1 or 2 (32 or 64 bits) with "
                    "encoding 1 (little-endian)",
                    file_class, data));
  const u16 type = load<u16>(file, 16), machine = load<u16>(file, 18);
  if (machine != machine_386 && machine != machine_x86_64)
    return Failure(fmt::format("kernel: ELF for machine {}; expected 62 (x86-64) or 3 (386)", machine));
  if (type != type_exec && type != type_dyn)
    return Failure(fmt::format("kernel: ELF type {}; expected 2 (executable) or 3 (shared)", type));
  const Layout& layout = file_class == class_64 ? elf64 : elf32;
  if (file.size() < layout.header_bytes)
    return Failure(
        fmt::format("kernel: the ELF has {:#x} bytes; its header alone needs {:#x}", file.size(), layout.header_bytes));
  return &layout;
}

// A note: name size, descriptor size and type, then name and descriptor, each padded to the segment's alignment.
tl::expected<std::optional<u32>, std::string> find_entry(std::span<const u8> notes, u64 alignment, unsigned segment) {
  constexpr u64 header_bytes = 12;
  constexpr std::string_view xen("Xen\0", 4);
  const u64 padding = alignment == 8 ? 8 : 4;
  for (u64 at = 0; within(at, header_bytes, notes.size());) {
    const u64 name_bytes = load<u32>(notes, at), descriptor_bytes = load<u32>(notes, at + 4);
    const u64 type = load<u32>(notes, at + 8), name = at + header_bytes;
    const u64 descriptor = align_up(name + name_bytes, padding);
    if (!within(name, name_bytes, notes.size()) || !within(descriptor, descriptor_bytes, notes.size()))
      return Failure(
          fmt::format("kernel: the ELF note at offset {:#x} of segment {} runs past the end of that segment "
                      "({:#x} bytes)",
                      at, segment, notes.size()));
    if (type == xen_phys32_entry && name_bytes == xen.size() &&
        std::equal(xen.begin(), xen.end(), notes.begin() + static_cast<std::ptrdiff_t>(name))) {
      if (descriptor_bytes != 4 && descriptor_bytes != 8)
        return Failure(fmt::format("kernel: Xen's note PHYS32_ENTRY has {} bytes; expected 4 or 8", descriptor_bytes));
      const u64 entry = descriptor_bytes == 4 ? load<u32>(notes, descriptor) : load<u64>(notes, descriptor);
      if (entry >> 32) return Failure(fmt::format("kernel: PVH entry {:#x} is not below 4 GiB", entry));
      return static_cast<u32>(entry);
    }
    at = align_up(descriptor + descriptor_bytes, padding);
  }
  return std::nullopt;
}

tl::expected<void, std::string> check_places(const KernelImage& image) {
  auto segments = image.segments;
  std::sort(segments.begin(), segments.end(), [](auto& a, auto& b) { return a.physical < b.physical; });
  for (std::size_t i = 1; i < segments.size(); ++i)
    if (segments[i - 1].physical + segments[i - 1].memory_bytes > segments[i].physical)
      return Failure(fmt::format("kernel: the ELF segments at physical {:#x} and {:#x} overlap",
                                 segments[i - 1].physical, segments[i].physical));
  if (std::none_of(segments.begin(), segments.end(), [&](const KernelImage::Segment& s) {
        return image.entry >= s.physical && image.entry - s.physical < s.memory_bytes;
      }))
    return Failure(fmt::format("kernel: PVH entry {:#x} lies in none of the ELF's {} loadable segments", image.entry,
                               segments.size()));
  return {};
}

}  // namespace

tl::expected<KernelImage, std::string> read_elf(std::vector<u8> file) {
  const auto found = TRY(layout_of(file));
  const Layout& layout = *found;
  const u64 table = get(file, 0, layout.phoff), count = get(file, 0, layout.phnum);
  const u64 stride = get(file, 0, layout.phentsize);
  if (stride != layout.segment_bytes)
    return Failure(fmt::format("kernel: ELF program headers of {} bytes; expected {}", stride, layout.segment_bytes));
  if (!within(table, count * stride, file.size()))
    return Failure(
        fmt::format("kernel: {} ELF program headers at file offset {:#x} run past the end of the file ({:#x} "
                    "bytes)",
                    count, table, file.size()));

  KernelImage image;
  std::optional<u32> entry;
  for (unsigned i = 0; i < count; ++i) {
    const u64 header = table + i * stride;
    const u32 type = load<u32>(file, header);
    if (type != pt_load && type != pt_note) continue;
    const KernelImage::Segment segment{get(file, header, layout.offset), get(file, header, layout.filesz),
                                       get(file, header, layout.physical), get(file, header, layout.memsz)};
    if (!within(segment.offset, segment.file_bytes, file.size()))
      return Failure(
          fmt::format("kernel: ELF segment {} at file offset {:#x} with {:#x} bytes runs past the end of the "
                      "file ({:#x} bytes)",
                      i, segment.offset, segment.file_bytes, file.size()));
    if (type == pt_note && !entry) {
      entry = TRY(find_entry(std::span(file).subspan(segment.offset, segment.file_bytes),
                             get(file, header, layout.alignment), i));
    }
    if (type != pt_load || segment.memory_bytes == 0) continue;
    if (segment.file_bytes > segment.memory_bytes)
      return Failure(fmt::format("kernel: ELF segment {} has {:#x} bytes in the file and only {:#x} in memory", i,
                                 segment.file_bytes, segment.memory_bytes));
    if (!within(segment.physical, segment.memory_bytes, u64{1} << 32))
      return Failure(fmt::format("kernel: ELF segment {} at physical {:#x} with {:#x} bytes is not below 4 GiB", i,
                                 segment.physical, segment.memory_bytes));
    image.segments.push_back(segment);
  }
  if (!entry)
    return Failure("kernel: the ELF has no PVH entry: Xen's note 18 (PHYS32_ENTRY; Linux: CONFIG_PVH) was expected");
  image.entry = *entry;
  TRY(check_places(image));
  image.elf = std::move(file);
  return image;
}

}  // namespace cloister::platform
