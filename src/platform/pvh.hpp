// Loading a PVH guest: unpacks a bzImage (or takes an ELF), finds Xen's PHYS32_ENTRY note, places kernel, initramfs,
// command line and hvm_start_info version 1 (Xen's public header arch-x86/hvm/start_info.h), and says what registers to
// start with: 32-bit flat protected mode, EBX = start_info.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "platform/memory_map.hpp"

namespace cloister::platform {

/// A kernel that can be entered by PVH: an ELF64 or ELF32 image in memory and its entry.
struct KernelImage {
  std::vector<u8> elf;
  u32 entry = 0;  ///< physical address, from the PHYS32_ENTRY note
  struct Segment {
    u64 offset, file_bytes, physical, memory_bytes;
  };
  std::vector<Segment> segments;  ///< PT_LOAD, checked to lie within the file
};

/// Reads a vmlinux or a bzImage (lz4, gzip, xz, zstd). The error says what was found and what was expected.
tl::expected<KernelImage, std::string> read_kernel(std::span<const u8> file);

/// Writes guest RAM; false if the range is not RAM.
using WriteMemory = std::function<bool(arch::Gpa, std::span<const std::byte>)>;

struct PvhBoot {
  u32 entry = 0;       ///< EIP
  u32 start_info = 0;  ///< EBX
};

struct PvhConfig {
  const KernelImage& kernel;
  std::span<const u8> ramdisk;  ///< empty: none
  std::string cmdline;
  const MemoryMap& map;
  arch::Gpa rsdp;
};

/// Where what load_pvh() loads will lie.
struct PvhPlaces {
  u64 ramdisk = 0;  ///< if there is one
  u64 start_info = 0;
};

/// Finds room for it in a domain's RAM, or says what has none.
tl::expected<PvhPlaces, std::string> place_pvh(const KernelImage& kernel, u64 ramdisk_bytes, u64 cmdline_bytes,
                                               const MemoryMap& map);

tl::expected<PvhBoot, std::string> load_pvh(const PvhConfig& config, const WriteMemory& write);

}  // namespace cloister::platform
