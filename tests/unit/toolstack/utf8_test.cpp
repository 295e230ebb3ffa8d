// What is not UTF-8 gets out nowhere: not in JSON, not in the log.
#include "text/utf8.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <regex>

#include "host/log.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {
namespace {

const std::string replacement = "\xef\xbf\xbd";

TEST(Utf8, KeepsWhatIsUtf8) {
  for (const std::string& text :
       {std::string("plain"), std::string("é € 😀"), std::string("\xf4\x8f\xbf\xbf\xed\x9f\xbf"),
        std::string("\0\x7f", 2), std::string()}) {
    EXPECT_EQ(valid_utf8(text), text);
    EXPECT_EQ(find_invalid_utf8(text), std::string_view::npos);
  }
}

// The examples of the Unicode standard, 3.9, and what is forbidden: overlong forms, surrogates, beyond U+10FFFF.
TEST(Utf8, ReplacesTheRest) {
  const std::pair<std::string, std::string> cases[] = {
      {"a\xff", "a" + replacement},
      {"\x80z", replacement + "z"},
      {"\xc0\xaf", replacement + replacement},
      {"\xe0\x80\xaf", replacement + replacement + replacement},
      {"\xed\xa0\x80", replacement + replacement + replacement},
      {"\xf4\x90\x80\x80", replacement + replacement + replacement + replacement},
      {"\xf0\x9f\x98", replacement},
      {"\xf0\x9f\x98z", replacement + "z"},
      {"\xe2\x82\xe2\x82\xac", replacement + "\xe2\x82\xac"}};
  for (const auto& [text, valid] : cases) EXPECT_EQ(valid_utf8(text), valid) << testing::PrintToString(text);
  EXPECT_EQ(find_invalid_utf8("ab\xc3"), 2u);
}

std::string random_text(std::mt19937& random) {
  constexpr const char* parts[] = {"a",  "\xc3", "\xa9", "\xe2\x82", "\xac",    "\xf0\x9f", "\x98\x80", "\xed\xa0\x80",
                                   "\n", "\"",   "\\",   "\x1b[2J",  "\xc2\x9b"};
  std::string text;
  for (unsigned n = random() % 24; n > 0; --n) {
    if (random() % 2 == 0)
      text += static_cast<char>(random() % 256);
    else
      text += parts[random() % std::size(parts)];
  }
  return text;
}

TEST(Utf8, HoldsForRandomBytes) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random), valid = valid_utf8(text);
    ASSERT_EQ(find_invalid_utf8(valid), std::string_view::npos) << testing::PrintToString(text);
    ASSERT_EQ(valid_utf8(valid), valid);
    ASSERT_EQ(valid == text, find_invalid_utf8(text) == std::string_view::npos) << testing::PrintToString(text);

    const std::string json = json_text(nlohmann::json{{text, text}, {"x", {text}}});
    ASSERT_EQ(find_invalid_utf8(json), std::string_view::npos);
    ASSERT_FALSE(nlohmann::json::parse(json, nullptr, false).is_discarded()) << json;
    ASSERT_EQ(find_invalid_utf8(json_text(nlohmann::ordered_json{{"x", text}}, 2)), std::string_view::npos);

    const std::string field = logfmt("error", text);
    ASSERT_EQ(find_invalid_utf8(field), std::string_view::npos) << testing::PrintToString(text);
    ASSERT_TRUE(std::ranges::none_of(field, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) << field;
  }
}

TEST(Log, EscapesBytesAndControls) {
  EXPECT_EQ(logfmt("error", "caf\xc3\xa9 \xe9"), "error=\"caf\xc3\xa9 \\xe9\"");
  EXPECT_EQ(logfmt("error", "\x1b[2J\xc2\x9b"), "error=\"\\x1b[2J\\xc2\\x9b\"");
}

TEST(Log, CutsAFieldThatIsTooLong) {
  const auto size = [](const std::string& value) { return logfmt("error", value).size(); };
  const std::size_t most = longest_log_field + std::string_view("error=\"\"…").size() + 8;
  EXPECT_EQ(logfmt("error", std::string(longest_log_field, 'x')), "error=" + std::string(longest_log_field, 'x'));
  for (const char* const piece : {"x", " ", "\n", "\xff", "\"", "\xc3\xa9"}) {
    std::string value;
    while (value.size() < 1'000'000) value += piece;
    EXPECT_LE(size(value), most) << testing::PrintToString(std::string(piece));
    EXPECT_TRUE(logfmt("error", value).ends_with("…\""));
  }
}

TEST(Shown, IsCutBetweenCharacters) {
  EXPECT_EQ(cut("four", 4), "four");
  EXPECT_EQ(cut("fours", 4), "four…");
  EXPECT_EQ(cut("caf\xc3\xa9s", 4), "caf…");
  EXPECT_EQ(cut("caf\xc3\xa9s", 5), "caf\xc3\xa9…");
  EXPECT_EQ(cut("\xf0\x9f\x98\x80.", 3), "…");
  EXPECT_EQ(cut(std::string(9, '\x80'), 8), std::string(5, '\x80') + "…") << "no character begins there";
  EXPECT_EQ(cut(std::string(1'000'000, 'x')), std::string(longest_quoted, 'x') + "…");
  EXPECT_EQ(cut_path(std::string(4096, 'x')), std::string(4096, 'x'));
}

// nlohmann's dump() throws at a byte that is not UTF-8; json_text() is the only one that calls it.
TEST(Json, BecomesTextInOnePlace) {
  const std::regex call(R"(\.dump\((\)|-?[0-9]))");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(CLOISTER_SOURCE_DIR "/src")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);)
      EXPECT_FALSE(std::regex_search(line, call)) << entry.path() << line;
  }
}

}  // namespace
}  // namespace cloister::toolstack
