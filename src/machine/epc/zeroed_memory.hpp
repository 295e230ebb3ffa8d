// Zeroed memory that costs address space only, until it is touched: what large and mostly empty tables live in.
#pragma once

#include <tl/expected.hpp>
#include <utility>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// Owns a private anonymous mapping.
class ZeroedMemory {
 public:
  ZeroedMemory() = default;
  /// The error is errno's.
  static tl::expected<ZeroedMemory, int> create(u64 bytes);
  ~ZeroedMemory();
  ZeroedMemory(ZeroedMemory&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  ZeroedMemory& operator=(ZeroedMemory&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* begin() const { return begin_; }
  u64 bytes() const { return bytes_; }
  /// How much of it has memory, now.
  u64 resident() const;

 private:
  std::byte* begin_ = nullptr;
  u64 bytes_ = 0;
};

}  // namespace cloister::toolstack
