// The words that a message offers.
#include "text/alternatives.hpp"

#include <gtest/gtest.h>

namespace cloister::toolstack {
namespace {

TEST(Alternatives, AreListedAsAPersonWould) {
  constexpr std::string_view words[] = {"on", "last", "off"};
  const std::span<const std::string_view> all(words);
  EXPECT_EQ(alternatives(all.first(1)), R"("on")");
  EXPECT_EQ(alternatives(all.first(2)), R"("on" or "last")");
  EXPECT_EQ(alternatives(all), R"("on", "last" or "off")");
}

}  // namespace
}  // namespace cloister::toolstack
