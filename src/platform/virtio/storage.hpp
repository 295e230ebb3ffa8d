// Where a disk's bytes are: what stands behind a block device. Offsets and lengths are within bytes(); whoever calls
// has seen to it.
#pragma once

#include <cstddef>
#include <span>

#include "arch/types.hpp"

namespace cloister::platform::virtio {

class Storage {
 public:
  Storage() = default;
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  virtual u64 bytes() const = 0;
  /// What its requests should be multiples of: a power of two, 512 at least.
  virtual u32 block_bytes() const { return 512; }
  /// False: the host could not.
  virtual bool read(u64 offset, std::span<std::byte> to) = 0;
  virtual bool write(u64 offset, std::span<const std::byte> from) = 0;
  /// What was written before survives the host's power cut.
  virtual bool flush() = 0;
  /// The bytes may be anything afterwards, and take no place.
  virtual bool discard(u64 offset, u64 length) = 0;
  /// The bytes are zeros afterwards; `unmap`: they need not take a place.
  virtual bool write_zeroes(u64 offset, u64 length, bool unmap) = 0;
};

}  // namespace cloister::platform::virtio
