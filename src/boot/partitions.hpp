// The partitions of a disk, by GPT (UEFI 2.10, 5.3) or MBR, with logical ones. Both are taken as they are read: what
// lies outside the disk is left out, and no table is believed to be longer than `most_partitions`.
#pragma once

#include <vector>

#include "boot/disk.hpp"

namespace cloister::boot {

inline constexpr u32 most_partitions = 128;

/// By their numbers. None: it has no such table, or nothing in it.
std::vector<Part> partitions_of(Disk& disk);

}  // namespace cloister::boot
