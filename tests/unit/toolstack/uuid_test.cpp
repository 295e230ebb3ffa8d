// UUIDs: what is one, its canonical form, and new ones.
#include "text/uuid.hpp"

#include <gtest/gtest.h>

#include <set>

namespace cloister::toolstack {
namespace {

const std::string canonical = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

TEST(Uuid, IsReadInItsCanonicalForm) {
  EXPECT_EQ(read_uuid(canonical), canonical);
  EXPECT_EQ(read_uuid("C7A5FDBD-EDAF-9455-926A-D65C16DB1809"), canonical);
  EXPECT_EQ(read_uuid("ffffffff-ffff-ffff-ffff-ffffffffffff"), "ffffffff-ffff-ffff-ffff-ffffffffffff");
}

TEST(Uuid, WhatIsNoneIsRefused) {
  const std::string wrong[] = {"",
                               "c7a5fdbdedaf9455926ad65c16db1809",
                               "{" + canonical + "}",
                               canonical + "0",
                               canonical.substr(1),
                               " " + canonical.substr(1),
                               canonical.substr(0, 35) + "g",
                               canonical.substr(0, 35) + "/",
                               canonical.substr(0, 35) + std::string(1, '\0'),
                               std::string(1, '\0') + canonical.substr(1),
                               canonical + std::string(1, '\0'),
                               "+7a5fdbd-edaf-9455-926a-d65c16db1809",
                               "0xa5fdbd-edaf-9455-926a-d65c16db1809",
                               "c7a5fdb-dedaf-9455-926a-d65c16db1809",
                               std::string(36, '-'),
                               std::string(1 << 20, 'a')};
  for (const std::string& text : wrong) {
    const auto uuid = read_uuid(text);
    ASSERT_FALSE(uuid) << text;
    EXPECT_NE(uuid.error().find(canonical), std::string::npos) << text << ": " << uuid.error();
  }
  const auto nil = read_uuid("00000000-0000-0000-0000-000000000000");
  ASSERT_FALSE(nil);
  EXPECT_NE(nil.error().find("nil"), std::string::npos);
}

TEST(Uuid, NewOnesAreRandomAndEachAnother) {
  std::set<std::string> made;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = new_uuid();
    EXPECT_EQ(read_uuid(uuid), uuid);
    EXPECT_EQ(uuid[14], '4') << uuid << ": RFC 4122, 4.4: the version";
    EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos) << uuid << ": the variant";
    EXPECT_TRUE(made.insert(uuid).second) << uuid << " was made twice";
  }
}

}  // namespace
}  // namespace cloister::toolstack
