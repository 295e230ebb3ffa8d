// A disk in memory, and how tables are written into it.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "boot/disk.hpp"

namespace cloister::boot::tests {

class BytesDisk : public Disk {
 public:
  explicit BytesDisk(std::vector<u8> bytes) : bytes_(std::move(bytes)) {}
  explicit BytesDisk(std::size_t length) : bytes_(length) {}
  u64 bytes() const override { return bytes_.size(); }
  bool read(u64 offset, std::span<u8> to) override {
    if (offset > bytes_.size() || to.size() > bytes_.size() - offset) return false;
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
    return true;
  }

  void put(u64 at, u64 number, std::size_t length) {
    for (std::size_t i = 0; i < length; ++i, number >>= 8) bytes_[at + i] = static_cast<u8>(number);
  }
  void put(u64 at, std::string_view text) { std::memcpy(bytes_.data() + at, text.data(), text.size()); }
  /// An entry of the MBR, or of a logical partition's table, that begins at this sector.
  void put_mbr(u64 sector, unsigned index, u8 type, u32 first, u32 count) {
    const u64 at = sector * 512 + 446 + 16 * index;
    put(at + 4, type, 1);
    put(at + 8, first, 4);
    put(at + 12, count, 4);
    put(sector * 512 + 510, 0xaa55, 2);
  }
  void put_gpt(u64 entries, u32 count, u32 length) {
    put_mbr(0, 0, 0xee, 1, 0xffff'ffff);
    put(512, "EFI PART");
    put(512 + 72, entries, 8);
    put(512 + 80, count, 4);
    put(512 + 84, length, 4);
  }
  void put_gpt_entry(u64 at, u64 first, u64 last) {
    put(at, 0x42, 1);
    put(at + 32, first, 8);
    put(at + 40, last, 8);
  }
  std::vector<u8>& contents() { return bytes_; }

 private:
  std::vector<u8> bytes_;
};

}  // namespace cloister::boot::tests
