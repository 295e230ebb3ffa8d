// The checksum of streams (stream/checksum.hpp) against zlib's, which it is for every length, alignment and beginning.
#include "stream/checksum.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <vector>

namespace cloister::stream {
namespace {

TEST(Checksum, IsZlibs) {
  std::mt19937_64 random(15);
  std::vector<u8> bytes(1 << 16);
  for (u8& byte : bytes) byte = static_cast<u8>(random());
  const auto of = [&](std::size_t at, std::size_t size, u32 before) {
    const u32 expected = static_cast<u32>(::crc32_z(before, bytes.data() + at, size));
    EXPECT_EQ(checksum(before, std::span(bytes).subspan(at, size)), expected) << at << ", " << size;
  };
  for (std::size_t size = 1; size <= 600; ++size) {
    of(0, size, 0);
    of(size % 17, size, static_cast<u32>(random()));
  }
  for (int i = 0; i < 200; ++i) {
    const std::size_t at = random() % 64;
    of(at, 1 + random() % (bytes.size() - at), static_cast<u32>(random()));
  }
  EXPECT_EQ(checksum(7, {}), 7u);
}

TEST(Checksum, OfPartsIsThatOfTheWhole) {
  std::vector<u8> bytes(5000, 0x5a);
  const u32 whole = checksum(0, bytes);
  for (const std::size_t cut : {0u, 1u, 63u, 64u, 65u, 127u, 4096u, 5000u})
    EXPECT_EQ(checksum(checksum(0, std::span(bytes).first(cut)), std::span(bytes).subspan(cut)), whole) << cut;
}

}  // namespace
}  // namespace cloister::stream
