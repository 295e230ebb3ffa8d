// Memfds whose size cannot change any more, and their mappings (memfd_create(2), fcntl(2) "File sealing").
#pragma once

#include <unistd.h>

#include <tl/expected.hpp>

#include "host/fd.hpp"
#include "silicon/memory/host_mapping.hpp"
#include "silicon/state/names.hpp"

namespace cloister::silicon {

/// A zeroed memfd of this size; `name` shows in /proc.
tl::expected<Fd, MemoryError> make_sealed(const char* name, u64 bytes);

/// A duplicate of a descriptor, which must be of a memfd of this size with its size sealed.
tl::expected<Fd, MemoryError> borrow_sealed(int descriptor, u64 bytes);

/// The whole of it, readable and writable, shared with others; null for no bytes.
tl::expected<HostMapping, MemoryError> map_sealed(const Fd& descriptor, u64 bytes);

/// Calls f(first, end) for the ranges of bytes from `from` to `to` in which something was ever stored, in whole pages
/// of the host. What lies between reads as zeros, and stays untouched.
template <class F>
void for_each_data(int descriptor, u64 from, u64 to, F&& f) {
  for (u64 at = from; at < to;) {
    const off_t data = ::lseek(descriptor, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 || static_cast<u64>(data) >= to) return;
    const off_t hole = ::lseek(descriptor, data, SEEK_HOLE);
    const u64 end = hole < 0 || static_cast<u64>(hole) > to ? to : static_cast<u64>(hole);
    f(static_cast<u64>(data), end);
    at = end;
  }
}

}  // namespace cloister::silicon
