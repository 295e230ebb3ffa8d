// JSON of strangers: what would be far more than its text is refused before it is made.
#include "text/bounded_json.hpp"

#include <gtest/gtest.h>

#include "text/json_fields.hpp"

namespace cloister::toolstack {
namespace {

std::string nested(std::size_t deep, const std::string& inner = "") {
  return std::string(deep, '[') + inner + std::string(deep, ']');
}

std::string error_of(const std::string& text, const JsonBounds& bounds = {}) {
  const auto value = parse_json(text, bounds);
  return value ? "" : value.error();
}

TEST(BoundedJson, IsWhatTheTextSays) {
  EXPECT_EQ(parse_json(R"({"a":[1,-2,0.5,"x",true,null],"b":{}})"),
            nlohmann::json({{"a", {1, -2, 0.5, "x", true, nullptr}}, {"b", nlohmann::json::object()}}));
  EXPECT_EQ(error_of("{"), "not JSON");
  EXPECT_EQ(error_of("[1] 2"), "not JSON");
  EXPECT_EQ(error_of(""), "not JSON");
}

TEST(BoundedJson, IsAsDeepAsItMayBe) {
  const std::string too_deep = "nested more than 32 deep";
  EXPECT_EQ(error_of(nested(32)), "");
  EXPECT_EQ(error_of(nested(33)), too_deep);
  EXPECT_EQ(error_of(std::string(2'100'000, '[')), too_deep) << "whatever comes behind it";
  EXPECT_EQ(error_of(R"({"a":)" + nested(31, "{}") + "}"), too_deep);
  EXPECT_EQ(error_of("[" + nested(31) + "," + nested(31) + "]"), "") << "those beside each other do not count";
  EXPECT_EQ(error_of(nested(3), {.deepest = 2}), "nested more than 2 deep");
}

TEST(BoundedJson, HasAsManyValuesAsItMayHave) {
  const JsonBounds few{.most_values = 5};
  EXPECT_EQ(error_of("[1,2,3,4]", few), "");
  for (const char* const text : {"[1,2,3,4,5]", "[[],[],[],{},[]]", R"({"a":1,"b":2,"c":3})", "[1,2,3,4,5,"})
    EXPECT_EQ(error_of(text, few), "more than 5 values") << text;
}

TEST(BoundedJson, IsWhatObjectsAreReadOf) {
  EXPECT_EQ(parse_object("[1]").error(), "expected a JSON object");
  EXPECT_EQ(parse_object(R"({"a":)" + nested(32) + "}").error(), "nested more than 32 deep");
  EXPECT_EQ(parse_object(R"({"a":[1,2]})", {.most_values = 4}).error(), "more than 4 values");
}

}  // namespace
}  // namespace cloister::toolstack
