// Memory with a descriptor (memfd_create(2)): a way to hand bytes, or a page of state, from one process to another.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <tl/expected.hpp>

#include "host/files.hpp"

namespace cloister::toolstack {

/// A memfd with these bytes, sealed against any change; the offset is at the start. Invalid if there is no memory.
Fd sealed_memfd(const char* name, std::span<const u8> bytes);
/// Whether it is such a memfd: nobody changes its bytes.
bool is_sealed_memfd(int fd);

/// A zeroed memfd sealed against changes of its size, so that no holder can make another one's access fault.
Fd fixed_memfd(const char* name, std::size_t bytes);
/// Whether it is such a memfd, and writable.
bool is_fixed_memfd(int fd, std::size_t bytes);

/// A shared mapping of the whole of a descriptor's memory.
class SharedMapping {
 public:
  SharedMapping() = default;
  /// Null data() if it cannot be mapped.
  SharedMapping(int fd, std::size_t bytes);
  SharedMapping(SharedMapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SharedMapping();
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace cloister::toolstack
