// A disk as what looks for a kernel sees it: bytes that can be read, whatever they come from.
#pragma once

#include <span>

#include "arch/types.hpp"

namespace cloister::boot {

class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  virtual u64 bytes() const = 0;
  /// False: some of them are beyond its end, or cannot be read.
  virtual bool read(u64 offset, std::span<u8> to) = 0;
};

/// A part of a disk; number 0: all of it.
struct Part {
  u64 start = 0, bytes = 0;
  u32 number = 0;  ///< as the guest's Linux counts partitions
  bool operator==(const Part&) const = default;
};

}  // namespace cloister::boot
