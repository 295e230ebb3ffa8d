// Encoded values: their bytes, and bytes that are none.
#include "stream/codec.hpp"

#include <gtest/gtest.h>

#include "unit/filled.hpp"

namespace cloister::stream {
namespace {

enum class Colour : u8 { red, green };
constexpr bool is_value(Colour colour) { return colour <= Colour::green; }

struct Inner {
  u16 number = 0;
  bool flag = false;
  bool operator==(const Inner&) const = default;
};
struct Outer {
  u8 byte = 0;
  std::optional<u32> perhaps;
  std::array<Inner, 2> inner{};
  std::vector<u16> list;
  std::map<u32, u64> map;
  std::string text;
  i64 negative = 0;
  Colour colour = Colour::red;
  bool operator==(const Outer&) const = default;
};

using Bytes = std::vector<u8>;

TEST(Encoded, NumbersAreLittleEndianAndAsWideAsTheyAre) {
  EXPECT_EQ(encode(u32{0x0403'0201}), (Bytes{1, 2, 3, 4}));
  EXPECT_EQ(encode(Inner{0x0201, true}), (Bytes{1, 2, 1}));
  EXPECT_EQ(encode(std::optional<u8>{}), Bytes{0});
  EXPECT_EQ(encode(std::optional<u8>{7}), (Bytes{1, 7}));
  EXPECT_EQ(encode(std::vector<u16>{1, 2}), (Bytes{2, 0, 0, 0, 1, 0, 2, 0}));
  EXPECT_EQ(encode(std::map<u8, u8>{{2, 3}, {1, 9}}), (Bytes{2, 0, 0, 0, 1, 9, 2, 3}));
  EXPECT_EQ(encode(Colour::green), Bytes{1});
}

TEST(Encoded, EveryFieldComesBack) {
  const auto value = tests::filled<Outer>();
  EXPECT_EQ(decode<Outer>(encode(value)), value);
  static_assert(field_count<Outer>() == 8);
}

TEST(Encoded, NoFewerBytesAreAValueNorAnyMore) {
  Bytes bytes = encode(tests::filled<Outer>());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode<Outer>(std::span(bytes).first(size))) << size;
  bytes.push_back(0);
  EXPECT_FALSE(decode<Outer>(bytes));
}

TEST(Encoded, NumbersThatAreNoValueAreRefused) {
  EXPECT_FALSE(decode<bool>(Bytes{2}));
  EXPECT_FALSE(decode<Colour>(Bytes{2}));
  EXPECT_FALSE(decode<std::optional<u8>>(Bytes{2, 7}));
  EXPECT_FALSE((decode<std::map<u8, u8>>(Bytes{2, 0, 0, 0, 2, 3, 1, 9}))) << "not in order";
  EXPECT_FALSE((decode<std::map<u8, u8>>(Bytes{2, 0, 0, 0, 1, 3, 1, 9}))) << "one key twice";
}

TEST(Encoded, ALengthTakesNoMemoryThatItsBytesDoNot) {
  EXPECT_FALSE(decode<std::vector<u64>>(Bytes{0xff, 0xff, 0xff, 0xff, 1, 2, 3}));
  EXPECT_FALSE(decode<std::string>(Bytes{4, 0, 0, 0, 'a', 'b', 'c'}));
}

}  // namespace
}  // namespace cloister::stream
