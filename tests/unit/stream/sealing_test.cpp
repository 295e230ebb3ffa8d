// Sealed streams come back as they were, and not at all if a byte of them is another one, missing, or elsewhere.
#include "stream/sealing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace cloister::stream {
namespace {

using ::testing::HasSubstr;

SealKey key_of(u8 byte) {
  SealKey key{};
  key.fill(byte);
  return key;
}

std::vector<u8> sealed(std::span<const u8> bytes, const SealKey& key, u8 id = 7) {
  std::vector<u8> out;
  SealId its{};
  its.fill(id);
  Sealer sealer(
      [&out](std::span<const u8> part) -> Result<void> {
        out.insert(out.end(), part.begin(), part.end());
        return {};
      },
      key, its);
  EXPECT_TRUE(sealer.sink()(bytes));
  EXPECT_TRUE(sealer.finish());
  return out;
}

Result<std::vector<u8>> opened(std::span<const u8> bytes, const SealKey& key) {
  const Source source = unsealed(
      [rest = bytes](std::span<u8> to) mutable -> Result<std::size_t> {
        const auto part = rest.first(std::min(rest.size(), to.size()));
        std::copy(part.begin(), part.end(), to.begin());
        rest = rest.subspan(part.size());
        return part.size();
      },
      key);
  std::vector<u8> all, part(5000);
  for (;;) {
    const auto found = source(part);
    if (!found) return tl::unexpected(found.error());
    if (*found == 0) return all;
    all.insert(all.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*found));
  }
}

std::vector<u8> text_of(std::size_t bytes) {
  std::vector<u8> text(bytes);
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<u8>(i * 131 >> 3);
  return text;
}

TEST(Sealing, ComesBackAsItWas) {
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, frame_bytes - 1, frame_bytes, frame_bytes + 1, 3 * frame_bytes + 17}) {
    const auto text = text_of(bytes);
    const auto seal = sealed(text, key_of(1));
    EXPECT_EQ(seal_id(seal).value()[0], 7);
    EXPECT_EQ(opened(seal, key_of(1)).value(), text) << bytes;
  }
}

TEST(Sealing, ShowsNothingOfWhatIsInIt) {
  const std::vector<u8> text(4096, 'x');
  const auto seal = sealed(text, key_of(1));
  EXPECT_EQ(std::search(seal.begin(), seal.end(), text.begin(), text.begin() + 4), seal.end());
  EXPECT_NE(seal, sealed(text, key_of(2)));
}

/// Who reads what was flushed waits for nothing more.
TEST(Sealing, WhatIsFlushedCanBeRead) {
  std::vector<u8> sealed_bytes;
  Sealer sealer(
      [&](std::span<const u8> more) -> Result<void> {
        sealed_bytes.insert(sealed_bytes.end(), more.begin(), more.end());
        return {};
      },
      key_of(1), SealId{});
  std::size_t at = 0;
  const Source source = unsealed(
      [&](std::span<u8> to) -> Result<std::size_t> {
        const std::size_t n = std::min(to.size(), sealed_bytes.size() - at);
        std::copy_n(sealed_bytes.begin() + static_cast<std::ptrdiff_t>(at), n, to.begin());
        at += n;
        return n;
      },
      key_of(1));
  ASSERT_TRUE(sealer.flush()) << "of nothing";
  EXPECT_TRUE(sealed_bytes.empty());
  for (u8 part = 1; part < 4; ++part) {
    ASSERT_TRUE(sealer.sink()(std::vector<u8>(part, part)));
    ASSERT_TRUE(sealer.flush());
    std::vector<u8> read(part);
    EXPECT_EQ(source(read), std::size_t{part});
    EXPECT_EQ(read, std::vector<u8>(part, part));
  }
  ASSERT_TRUE(sealer.finish());
  std::vector<u8> read(1);
  EXPECT_EQ(source(read), std::size_t{0});
}

TEST(Sealing, AnotherKeyOpensNothing) {
  const auto failed = opened(sealed(text_of(100), key_of(1)), key_of(2));
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error(), HasSubstr("frame 0: it was altered, or sealed with another key"));
}

TEST(Sealing, EveryByteCounts) {
  const auto seal = sealed(text_of(40), key_of(1));
  for (std::size_t i = 0; i < seal.size(); ++i) {
    auto other = seal;
    other[i] ^= 1;
    EXPECT_FALSE(opened(other, key_of(1))) << i;
    EXPECT_FALSE(opened(std::span(seal).first(i), key_of(1))) << i;
  }
}

TEST(Sealing, FramesStayWhereTheyAre) {
  const auto seal = sealed(text_of(3 * frame_bytes), key_of(1));
  constexpr std::size_t whole = 4 + frame_bytes + tag_bytes;
  const auto frame = [&](std::size_t i) {
    return std::span(seal).subspan(seal_header_bytes + i * whole, i < 3 ? whole : seal_end_bytes);
  };
  const auto of = [&](std::initializer_list<std::size_t> frames) {
    std::vector<u8> bytes(seal.begin(), seal.begin() + seal_header_bytes);
    for (const std::size_t i : frames) bytes.insert(bytes.end(), frame(i).begin(), frame(i).end());
    return bytes;
  };
  EXPECT_TRUE(opened(of({0, 1, 2, 3}), key_of(1)));
  for (const auto& frames : {of({1, 0, 2, 3}), of({0, 0, 2, 3}), of({0, 2, 3}), of({2, 3}), of({0, 1, 3}), of({3})})
    EXPECT_THAT(opened(frames, key_of(1)).error(), HasSubstr("it was altered"));
  EXPECT_THAT(opened(of({0, 1, 2}), key_of(1)).error(), HasSubstr("ends before its last frame"));
  EXPECT_THAT(opened(of({}), key_of(1)).error(), HasSubstr("ends before its last frame"));
  // Another stream's, with the same key: its header is another one.
  auto mixed = sealed(text_of(3 * frame_bytes), key_of(1), 8);
  std::ranges::copy(frame(1), mixed.begin() + static_cast<std::ptrdiff_t>(seal_header_bytes + whole));
  EXPECT_THAT(opened(mixed, key_of(1)).error(), HasSubstr("frame 1: it was altered"));
}

/// What is cut anywhere has no end; with it all frames are there.
TEST(Sealing, ItsEndIsSeenWithoutTheKey) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{40}, frame_bytes}) {
    const auto seal = sealed(text_of(bytes), key_of(1));
    for (std::size_t size = seal_header_bytes + seal_end_bytes; size <= seal.size(); ++size) {
      const auto end = std::span(seal).first(size).last<seal_end_bytes>();
      EXPECT_EQ(seal_ends_with(end), size == seal.size()) << size;
    }
  }
}

TEST(Sealing, WhatIsNoneSaysSo) {
  EXPECT_THAT(seal_id(text_of(10)).error(), HasSubstr("no sealed domain's header"));
  EXPECT_THAT(seal_id(text_of(100)).error(), HasSubstr("no sealed domain's header"));
  auto newer = sealed(text_of(1), key_of(1));
  newer[8] = 2;
  EXPECT_THAT(seal_id(newer).error(), HasSubstr("found version 2 of sealed domains, expected 1"));
}

}  // namespace
}  // namespace cloister::stream
