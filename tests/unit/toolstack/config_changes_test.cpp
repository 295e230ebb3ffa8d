// Texts of configurations against each other, and with another name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/changes.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ChangedKeys, AreThoseOfAnotherValue) {
  EXPECT_THAT(changed_keys("name = 'a'\nmemory = 16\n", "# why\nmemory=16;name=\"a\"\n"), IsEmpty());
  EXPECT_THAT(changed_keys("name = 'a'\nmemory = 16\n", "name = 'a'\nvcpus = 2\n"), ElementsAre("memory", "vcpus"));
  EXPECT_THAT(changed_keys("epc = [ '1', '2' ]\n", "epc = [ '1', '3' ]\n"), ElementsAre("epc"));
  EXPECT_THAT(changed_keys("epc = [ '1', '2' ]\n", "epc = [ '1' ]\n"), ElementsAre("epc"));
  EXPECT_THAT(changed_keys("epc = 1\n", "epc = '1'\n"), ElementsAre("epc"));
  EXPECT_THAT(changed_keys("cmdline = 'a'\n", "cmdline = 'a'\ncmdline = 'b'\n"), ElementsAre("cmdline"));
}

TEST(Renamed, ChangesTheNameAlone) {
  EXPECT_EQ(renamed("# name = 'x'\r\nmemory = 16 ; name\t=  'one'  # one\r\nkernel = 'one'", "two"),
            "# name = 'x'\r\nmemory = 16 ; name\t=  'two'  # one\r\nkernel = 'one'");
  EXPECT_EQ(renamed("name=\"a\"", "longer.than-that"), "name=\"longer.than-that\"");
  EXPECT_EQ(renamed("name = \"a\"\n", "a"), "name = \"a\"\n");
}

TEST(Renamed, RefusesWhatItCannotChangeWhole) {
  EXPECT_FALSE(renamed("memory = 1\n", "b"));
  EXPECT_FALSE(renamed("name = 12\n", "b"));
  EXPECT_FALSE(renamed("name = [ 'a' ]\n", "b"));
  EXPECT_FALSE(renamed("name = 'a\n", "b"));
  EXPECT_FALSE(renamed("name = 'a'\n", "../b"));
  EXPECT_FALSE(renamed("name = 'a'\n", "b\"\nmemory = 1"));
  EXPECT_FALSE(renamed("name = 'a\\x62'\n", "b"));
  EXPECT_FALSE(renamed("name = 'a'\nname += 'b'\n", "c"));
  EXPECT_EQ(renamed("name = 'a'\nname = 'b'\n", "c"), "name = 'a'\nname = 'c'\n") << "the last one counts";
}

}  // namespace
}  // namespace cloister::tests
