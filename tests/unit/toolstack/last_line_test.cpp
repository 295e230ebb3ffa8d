// The last line of a console, as the report of a crash shows it.
#include "host/last_line.hpp"

#include <gtest/gtest.h>

namespace cloister::toolstack {
namespace {

std::string last_of(std::string_view text) {
  LastLine line;
  for (const char c : text) {
    const u8 byte = static_cast<u8>(c);
    line.feed({&byte, 1});
  }
  return line.text();
}

TEST(LastLine, IsTheOneBeingWrittenOrTheLastWithText) {
  EXPECT_EQ(last_of(""), "");
  EXPECT_EQ(last_of("one\r\ntwo\r\n"), "two");
  EXPECT_EQ(last_of("one\ntw"), "tw");
  EXPECT_EQ(last_of("one\n\r\n\n"), "one");
}

TEST(LastLine, HasNoControlCharactersAndABound) {
  EXPECT_EQ(last_of("a\x1b[31mb\x7f"), "a[31mb");
  EXPECT_EQ(last_of(std::string(100000, 'x')).size(), 1024u);
}

}  // namespace
}  // namespace cloister::toolstack
