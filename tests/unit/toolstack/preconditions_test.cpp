// Entity-tags: which lists are some, and what a request's conditions say of a tag (RFC 9110, 8.8.3, 13.1 and 13.2.2).
#include "http/preconditions.hpp"

#include <gtest/gtest.h>

namespace cloister::toolstack {
namespace {

using Fields = std::vector<std::string>;

tl::expected<EntityTags, std::string> read(const Fields& fields) { return read_entity_tags(fields); }

TEST(Preconditions, AreListsOfEntityTags) {
  EXPECT_EQ(read({"*"}), EntityTags{.any = true});
  EXPECT_EQ(read({R"("a")"}), EntityTags{.tags = {{R"("a")"}}});
  EXPECT_EQ(read({R"("")"}), EntityTags{.tags = {{R"("")"}}});
  // Elements may be empty; a comma may be part of a tag; several fields are one list.
  EXPECT_EQ(read({R"(, "a" ,,	W/"b,c",)", "", R"("d")"}),
            (EntityTags{.tags = {{R"("a")"}, {R"("b,c")", true}, {R"("d")"}}}));
  EXPECT_EQ(read({"\"\xe9*\""}), (EntityTags{.tags = {{"\"\xe9*\""}}}));
}

TEST(Preconditions, RefuseWhatIsNone) {
  const std::string expected = ", expected * alone, or entity-tags, each in double quotes, with commas between them";
  for (const auto& [wrong, found] :
       std::vector<std::pair<Fields, std::string>>{{{"a"}, "found 'a'"},
                                                   {{R"("a", b)"}, "found 'b'"},
                                                   {{R"("a")", R"(W/b, "c")"}, R"(found 'W/b, "c"')"},
                                                   {{R"("a" "b")"}, R"(found '"b"' after an entity-tag)"},
                                                   {{R"("a", *)"}, "found '*'"},
                                                   {{"*", "*"}, "found '*'"},
                                                   {{std::string(9000, 'a')}, "found '" + std::string(80, 'a') + "…'"},
                                                   {{""}, "found nothing"},
                                                   {{"", " ,\t,"}, "found nothing"}}) {
    const auto tags = read(wrong);
    ASSERT_FALSE(tags) << found;
    EXPECT_EQ(tags.error(), found + expected);
  }
  for (const char* wrong : {"a", R"("a)", R"(a")", R"("a""b")", R"("a" "b")", R"("a b")", R"(w/"a")", R"(W/a)", "W/",
                            R"(W /"a")", "**", "*, *", R"(*, "a")", R"("a", *)", "\"a\tb\"", "\"\x7f\""})
    EXPECT_FALSE(read({wrong})) << wrong;
  EXPECT_FALSE(read({"*", R"("a")"}));
}

struct Case {
  const char* name;
  Fields match, none_match;
  const char* tag;  ///< null: there is nothing
  bool holds;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

Preconditions conditions_of(const Fields& match, const Fields& none_match) {
  Preconditions conditions;
  if (!match.empty()) conditions.match = read(match).value();
  if (!none_match.empty()) conditions.none_match = read(none_match).value();
  return conditions;
}

class Conditions : public testing::TestWithParam<Case> {};

TEST_P(Conditions, HoldOrNot) {
  const Case& c = GetParam();
  const std::string tag = c.tag == nullptr ? "" : c.tag;
  EXPECT_EQ(preconditions_hold(conditions_of(c.match, c.none_match), c.tag == nullptr ? nullptr : &tag), c.holds);
}

constexpr const char* nothing = nullptr;
INSTANTIATE_TEST_SUITE_P(
    All, Conditions,
    testing::Values(
        Case{"none_of_something", {}, {}, R"("a")", true}, Case{"none_of_nothing", {}, {}, nothing, true},
        Case{"match", {R"("x", "a")"}, {}, R"("a")", true}, Case{"match_another", {R"("x")"}, {}, R"("a")", false},
        Case{"match_begin", {R"("a")"}, {}, R"("ab")", false}, Case{"match_nothing", {R"("a")"}, {}, nothing, false},
        Case{"match_any", {"*"}, {}, R"("a")", true}, Case{"match_any_of_nothing", {"*"}, {}, nothing, false},
        // If-Match compares strongly, If-None-Match weakly.
        Case{"match_weak", {R"(W/"a")"}, {}, R"("a")", false}, Case{"match_of_weak", {R"("a")"}, {}, R"(W/"a")", false},
        Case{"none_match_weak", {}, {R"(W/"a")"}, R"("a")", false}, Case{"none_match", {}, {R"("a")"}, R"("a")", false},
        Case{"none_match_another", {}, {R"("x")"}, R"("a")", true},
        Case{"none_match_nothing", {}, {R"("a")"}, nothing, true}, Case{"none_match_any", {}, {"*"}, R"("a")", false},
        Case{"none_match_any_of_nothing", {}, {"*"}, nothing, true},
        Case{"both", {R"("a")"}, {R"("b")"}, R"("a")", true}, Case{"one_of_both", {R"("a")"}, {"*"}, R"("a")", false}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(Preconditions, OfWhatIsReadHaveAStatus) {
  const std::string tag = R"("a")";
  EXPECT_EQ(status_of_read({}, tag), 200);
  EXPECT_EQ(status_of_read(conditions_of({tag}, {R"("b")"}), tag), 200);
  EXPECT_EQ(status_of_read(conditions_of({}, {tag}), tag), 304);
  EXPECT_EQ(status_of_read(conditions_of({}, {"*"}), tag), 304);
  EXPECT_EQ(status_of_read(conditions_of({R"("b")"}, {}), tag), 412);
  EXPECT_EQ(status_of_read(conditions_of({R"("b")"}, {tag}), tag), 412);
}

}  // namespace
}  // namespace cloister::toolstack
