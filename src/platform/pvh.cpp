// place_pvh and load_pvh: kernel where its headers say, initramfs as high as it goes below the hole at 3 GiB, and one
// block as low as it goes with start_info, module list, memory map and command line. Fresh guest memory is zero, so
// .bss is not written.
#include "platform/pvh.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "arch/try.hpp"
#include "platform/bytes.hpp"

namespace cloister::platform {
namespace {

using Failure = tl::unexpected<std::string>;

// Xen's public header arch-x86/hvm/start_info.h.
constexpr u32 start_info_magic = 0x336e'c578, start_info_version = 1;
constexpr u64 start_info_bytes = 56, module_bytes = 32, map_entry_bytes = 24;
constexpr u64 max_cmdline_bytes = 2047;  // Linux' COMMAND_LINE_SIZE on x86, less its NUL

struct Range {
  u64 base, end;
};

// Which RAM below 4 GiB is still free. Page 0 is nobody's.
class Space {
 public:
  explicit Space(const MemoryMap& map) {
    for (const MapEntry& entry : map.entries)
      if (entry.type == MapType::ram && entry.base.value < mmio_hole_base)
        free_.push_back({std::max(entry.base.value, arch::page_size), entry.base.value + entry.bytes});
  }
  bool is_ram(u64 base, u64 bytes) const {
    return std::any_of(free_.begin(), free_.end(),
                       [&](Range r) { return base >= r.base && within(base - r.base, bytes, r.end - r.base); });
  }
  /// Cuts [base, base + bytes), widened to pages, out of what is free.
  void occupy(u64 base, u64 bytes) {
    const Range used{arch::page_base(base), align_up(base + bytes, arch::page_size)};
    std::vector<Range> rest;
    for (const Range& r : free_) {
      if (const u64 end = std::min(r.end, used.base); r.base < end) rest.push_back({r.base, end});
      if (const u64 begin = std::max(r.base, used.end); begin < r.end) rest.push_back({begin, r.end});
    }
    free_ = std::move(rest);
  }
  std::optional<u64> take_lowest(u64 bytes) {
    for (const Range& r : free_)
      if (r.end - r.base >= bytes) return take(r.base, bytes);
    return std::nullopt;
  }
  std::optional<u64> take_highest(u64 bytes) {
    for (auto r = free_.rbegin(); r != free_.rend(); ++r)
      if (r->end - r->base >= bytes) return take(arch::page_base(r->end - bytes), bytes);
    return std::nullopt;
  }

 private:
  u64 take(u64 base, u64 bytes) {
    occupy(base, bytes);
    return base;
  }
  std::vector<Range> free_;  // sorted and disjoint, of whole pages
};

tl::expected<void, std::string> put(const WriteMemory& write, const char* what, u64 at, std::span<const u8> bytes) {
  if (!bytes.empty() && !write(arch::Gpa{at}, std::as_bytes(bytes)))
    return Failure(fmt::format("{}: guest memory [{:#x}, {:#x}) cannot be written", what, at, at + bytes.size()));
  return {};
}

u64 start_info_length(u64 modules, u64 cmdline_bytes, const MemoryMap& map) {
  return start_info_bytes + modules * module_bytes + map.entries.size() * map_entry_bytes + cmdline_bytes + 1;
}

// start_info and all that it points to but the ramdisk, as it lies at `base`.
Bytes make_start_info(const PvhConfig& config, u64 base, std::optional<u64> ramdisk) {
  const u64 modules = ramdisk ? 1 : 0;
  const u64 module_list = base + start_info_bytes, map = module_list + modules * module_bytes;
  const u64 cmdline = map + config.map.entries.size() * map_entry_bytes;
  Bytes block;
  append<u32>(block, start_info_magic);
  append<u32>(block, start_info_version);
  append<u32>(block, 0);  // flags
  append<u32>(block, static_cast<u32>(modules));
  append<u64>(block, ramdisk ? module_list : 0);
  append<u64>(block, cmdline);
  append<u64>(block, config.rsdp.value);
  append<u64>(block, map);
  append<u32>(block, static_cast<u32>(config.map.entries.size()));
  append<u32>(block, 0);
  if (ramdisk)
    for (u64 field : {*ramdisk, u64{config.ramdisk.size()}, u64{0}, u64{0}}) append(block, field);
  for (const MapEntry& entry : config.map.entries) {
    append(block, entry.base.value);
    append(block, entry.bytes);
    append(block, static_cast<u32>(entry.type));
    append<u32>(block, 0);
  }
  append(block, config.cmdline);
  append<u8>(block, 0);
  return block;
}

}  // namespace

tl::expected<PvhPlaces, std::string> place_pvh(const KernelImage& kernel, u64 ramdisk_bytes, u64 cmdline_bytes,
                                               const MemoryMap& map) {
  if (cmdline_bytes > max_cmdline_bytes)
    return Failure(fmt::format("cmdline: {} bytes; the kernel takes {} at most", cmdline_bytes, max_cmdline_bytes));
  const Space ram(map);
  Space space(map);
  for (const KernelImage::Segment& segment : kernel.segments) {
    if (!ram.is_ram(segment.physical, segment.memory_bytes))
      return Failure(
          fmt::format("kernel: the segment [{:#x}, {:#x}) does not lie in the domain's RAM; more memory is "
                      "needed, or another kernel",
                      segment.physical, segment.physical + segment.memory_bytes));
    space.occupy(segment.physical, segment.memory_bytes);
  }
  PvhPlaces places;
  if (ramdisk_bytes != 0) {
    const auto ramdisk = space.take_highest(ramdisk_bytes);
    if (!ramdisk)
      return Failure(fmt::format("ramdisk: {:#x} bytes do not fit in the RAM below 3 GiB that the kernel leaves free",
                                 ramdisk_bytes));
    places.ramdisk = *ramdisk;
  }
  const u64 info_bytes = start_info_length(ramdisk_bytes != 0 ? 1 : 0, cmdline_bytes, map);
  const auto info = space.take_lowest(info_bytes);
  if (!info) return Failure(fmt::format("start_info: no free RAM below 3 GiB for {:#x} bytes", info_bytes));
  places.start_info = *info;
  return places;
}

tl::expected<PvhBoot, std::string> load_pvh(const PvhConfig& config, const WriteMemory& write) {
  if (config.cmdline.find('\0') != std::string::npos) return Failure("cmdline: contains a NUL byte");
  const auto places = TRY(place_pvh(config.kernel, config.ramdisk.size(), config.cmdline.size(), config.map));

  for (const KernelImage::Segment& segment : config.kernel.segments)
    TRY(put(write, "kernel", segment.physical,
            std::span(config.kernel.elf).subspan(segment.offset, segment.file_bytes)));
  const std::optional<u64> ramdisk = config.ramdisk.empty() ? std::nullopt : std::optional(places.ramdisk);
  if (ramdisk) TRY(put(write, "ramdisk", *ramdisk, config.ramdisk));
  const u64 info = places.start_info;
  TRY(put(write, "start_info", info, make_start_info(config, info, ramdisk)));
  return PvhBoot{config.kernel.entry, static_cast<u32>(info)};
}

}  // namespace cloister::platform
