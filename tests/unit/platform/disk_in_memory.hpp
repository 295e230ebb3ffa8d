// A disk whose bytes are the test's, and which notes what is asked of it.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "platform/virtio/storage.hpp"

namespace cloister::platform::virtio {

class DiskInMemory final : public Storage {
 public:
  explicit DiskInMemory(u64 bytes) : data(bytes) {}
  u64 bytes() const override { return data.size(); }
  u32 block_bytes() const override { return block; }
  bool read(u64 offset, std::span<std::byte> to) override {
    std::memcpy(to.data(), &data.at(offset), to.size());
    return works;
  }
  bool write(u64 offset, std::span<const std::byte> from) override {
    if (works) std::memcpy(&data.at(offset), from.data(), from.size());
    return works;
  }
  bool flush() override {
    ++flushes;
    return works;
  }
  bool discard(u64 offset, u64 length) override { return fill(offset, length, 0xdd); }
  bool write_zeroes(u64 offset, u64 length, bool unmap) override {
    unmapped = unmap;
    return fill(offset, length, 0);
  }

  std::vector<u8> data;
  u32 block = 512;
  bool works = true, unmapped = false;
  unsigned flushes = 0;

 private:
  bool fill(u64 offset, u64 length, u8 with) {
    if (works && length != 0) std::memset(&data.at(offset), with, length);
    return works;
  }
};

}  // namespace cloister::platform::virtio
