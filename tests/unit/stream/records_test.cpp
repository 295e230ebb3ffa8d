// Streams of records: what is written is read, and every other stream is refused, with the place and what was expected.
#include <gtest/gtest.h>

#include "stream/checksum.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::stream {
namespace {

using Bytes = std::vector<u8>;

/// A stream of a record of three bytes, one of none, and the end.
Bytes three_records() {
  Bytes bytes;
  Writer writer([&bytes](std::span<const u8> more) -> Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  });
  EXPECT_TRUE(writer.record(Kind::uart, Bytes{1, 2, 3}));
  EXPECT_TRUE(writer.record(Kind::power, {}));
  EXPECT_TRUE(writer.end());
  return bytes;
}
constexpr std::size_t first_at = header_bytes, second_at = first_at + head_bytes + 8, end_at = second_at + head_bytes;

/// Gives a few bytes at a time.
Source source_of(const Bytes& bytes, std::size_t at_once = 7) {
  return [&bytes, at_once, at = std::size_t{0}](std::span<u8> to) mutable -> Result<std::size_t> {
    const std::size_t n = std::min({to.size(), at_once, bytes.size() - at});
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), n, to.begin());
    at += n;
    return n;
  };
}

/// Reads to the end. The error, if there is one.
std::string read_all(const Bytes& bytes, std::vector<Kind>* seen = nullptr) {
  Reader reader(source_of(bytes));
  for (;;) {
    const auto record = reader.next();
    if (!record) return record.error();
    if (seen != nullptr) seen->push_back(record->kind);
    if (record->kind == Kind::end) return "";
  }
}

/// Puts the checksums right again, from the record at `at` on.
void seal(Bytes& bytes) {
  u32 check = checksum(0, std::span(bytes).first(header_bytes));
  for (std::size_t at = first_at; at + head_bytes <= bytes.size();) {
    auto head = *decode<RecordHead>(std::span(bytes).subspan(at, head_bytes));
    const std::size_t body = (std::size_t{head.bytes} + 7) / 8 * 8;
    if (at + head_bytes + body > bytes.size()) return;
    check = checksum(check, std::span(bytes).subspan(at, head_bytes - 4));
    head.check = check = checksum(check, std::span(bytes).subspan(at + head_bytes, body));
    std::ranges::copy(encode(head), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    at += head_bytes + body;
  }
}

TEST(StreamOfRecords, IsReadAsItWasWritten) {
  const Bytes bytes = three_records();
  Reader reader(source_of(bytes, 1));
  const auto first = reader.next();
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(first->kind, Kind::uart);
  EXPECT_EQ(first->at, first_at);
  EXPECT_EQ(first->body, (Bytes{1, 2, 3}));
  EXPECT_EQ(reader.next(Kind::power)->body, Bytes{});
  EXPECT_EQ(reader.next()->kind, Kind::end);
}

TEST(StreamOfRecords, ThatIsCutAtAnyByteIsRefused) {
  const Bytes bytes = three_records();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string error = read_all(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_TRUE(error.starts_with("byte " + std::to_string(size) + ": the stream ends in ")) << error;
  }
}

TEST(StreamOfRecords, OfWhichAnyBitIsAnotherIsRefused) {
  Bytes bytes = three_records();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      // The header's minor version may be any.
      if (at == 10 || at == 11) continue;
      bytes[at] ^= static_cast<u8>(1u << bit);
      EXPECT_NE(read_all(bytes), "") << at;
      bytes[at] ^= static_cast<u8>(1u << bit);
    }
  }
}

TEST(StreamOfRecords, PutTogetherAnewIsRefused) {
  const Bytes bytes = three_records();
  const auto at = [&bytes](std::size_t offset) { return bytes.begin() + static_cast<std::ptrdiff_t>(offset); };
  Bytes without(bytes.begin(), at(first_at));
  without.insert(without.end(), at(second_at), bytes.end());
  EXPECT_NE(read_all(without).find("another checksum"), std::string::npos);
  Bytes swapped(bytes.begin(), at(first_at));
  swapped.insert(swapped.end(), at(second_at), at(end_at));
  swapped.insert(swapped.end(), at(first_at), at(second_at));
  swapped.insert(swapped.end(), at(end_at), bytes.end());
  EXPECT_NE(read_all(swapped).find("another checksum"), std::string::npos);
}

TEST(StreamOfRecords, OfAnotherVersionIsRefused) {
  Bytes bytes = three_records();
  bytes[8] = 2;
  EXPECT_EQ(read_all(bytes), "byte 8: found version 2.0 of the stream, expected 1");
  bytes = three_records();
  bytes[10] = 9;
  seal(bytes);
  EXPECT_EQ(read_all(bytes), "") << "a later minor version adds records that may be passed over";
  bytes = three_records();
  bytes[first_at + 4] = 2;
  seal(bytes);
  EXPECT_EQ(read_all(bytes), "byte 16: record uart: found version 2, expected 1");
}

TEST(StreamOfRecords, ThatAreNotKnown) {
  Bytes bytes = three_records();
  bytes[first_at + 1] = 0x55;
  seal(bytes);
  EXPECT_EQ(read_all(bytes), "byte 16: found a record of type 0x5505, which is not known here");
  bytes[first_at + 3] = 0x80;
  seal(bytes);
  std::vector<Kind> seen;
  EXPECT_EQ(read_all(bytes, &seen), "") << "it may be passed over";
  EXPECT_EQ(seen, (std::vector{Kind::power, Kind::end}));
}

TEST(StreamOfRecords, WhoseLengthLiesTakesNoMemory) {
  Bytes bytes = three_records();
  bytes[first_at + 11] = 0xff;
  EXPECT_EQ(read_all(bytes), "byte 16: found a record of 4278190083 bytes, expected at most 65536");
  bytes[first_at + 3] = 0x80;
  EXPECT_EQ(read_all(bytes), "byte 16: found a record of 4278190083 bytes, expected at most 1048576");
}

TEST(StreamOfRecords, IsNotWrittenBeyondItsBounds) {
  Writer writer([](std::span<const u8>) -> Result<void> { return {}; });
  EXPECT_FALSE(writer.record(Kind::power, Bytes(65)));
}

TEST(StreamOfRecords, SaysWhatItsTransportSaid) {
  Writer writer([](std::span<const u8>) -> Result<void> { return tl::unexpected(std::string("the disk is full")); });
  EXPECT_EQ(writer.end().error(), "the disk is full");
  Reader reader([](std::span<u8>) -> Result<std::size_t> { return tl::unexpected(std::string("gone")); });
  EXPECT_EQ(reader.next().error(), "gone");
}

TEST(StreamOfRecords, AnotherKindThanExpected) {
  const Bytes bytes = three_records();
  Reader reader(source_of(bytes));
  EXPECT_EQ(reader.next(Kind::rtc).error(), "byte 16: found record uart, expected rtc");
  Reader again(source_of(bytes));
  EXPECT_EQ(again.value<u64>(Kind::uart).error(), "byte 16: record uart: its body is not what its kind has");
}

}  // namespace
}  // namespace cloister::stream
