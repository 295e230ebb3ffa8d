// The syntax of xl.cfg (xl.cfg(5), "SYNTAX"): what is accepted, and where and how the rest is refused.
#include "config/xl/parser.hpp"

#include <gtest/gtest.h>

namespace cloister::toolstack::xl {
namespace {

/// A value in one line: strings in <>, numbers bare, lists in [].
std::string shape(const Value& value) {
  if (value.kind == Value::Kind::number) return value.text;
  if (value.kind == Value::Kind::string) return std::string("<").append(value.text).append(">");
  std::string text = "[";
  for (const Value& element : value.list) text.append(text.size() > 1 ? " " : "").append(shape(element));
  return text + "]";
}

std::string shape(std::string_view text) {
  const auto document = parse(text);
  if (!document) return format("error", document.error());
  std::string all;
  for (const Setting& setting : document->settings) {
    all.append(all.empty() ? "" : "; ").append(setting.name).append("=").append(shape(setting.value));
  }
  return all;
}

struct Good {
  const char* text;
  const char* shape;
};

class GoodSyntax : public testing::TestWithParam<Good> {};

TEST_P(GoodSyntax, IsUnderstood) { EXPECT_EQ(shape(GetParam().text), GetParam().shape) << GetParam().text; }

INSTANTIATE_TEST_SUITE_P(
    Table, GoodSyntax,
    testing::Values(Good{"", ""}, Good{"\n\n  \t\n", ""}, Good{"# only a comment", ""},
                    Good{"memory = 512\n", "memory=512"}, Good{"memory=512", "memory=512"},
                    Good{"memory = 0x200 # hex\n", "memory=0x200"}, Good{"memory = 01000\n", "memory=01000"},
                    Good{"a = 1; b = 2 ;\nc = 3", "a=1; b=2; c=3"},
                    Good{"a = 'single'\nb = \"double\"\n", "a=<single>; b=<double>"},
                    Good{"a = \"it's\"\nb = 'say \"x\"'\n", "a=<it's>; b=<say \"x\">"},
                    Good{"a = \"# no comment; nor = this\" # but this\n", "a=<# no comment; nor = this>"},
                    Good{R"(a = "\\ \" \' \t|\x41\101\7")", "a=<\\ \" ' \t|AA\7>"}, Good{"a = ''\n", "a=<>"},
                    Good{"a = []\n", "a=[]"}, Good{"a = [1, 'x', \"y\"]\n", "a=[1 <x> <y>]"},
                    Good{"a = [1, 2,]\n", "a=[1 2]"}, Good{"a = [\n  1, # one\n\n  2\n  ,\n  3,\n]\n", "a=[1 2 3]"},
                    Good{"a = [[1, 2], [], ['x']]", "a=[[1 2] [] [<x>]]"}, Good{"a = 'x'\na += 'y'\n", "a=<xy>"},
                    Good{"a += 'y'\n", "a=<y>"}, Good{"a = [1]\na += [2, 3]\n", "a=[1 2 3]"},
                    Good{"a = 1\r\nb = 2\r\n", "a=1; b=2"}, Good{"on_crash = 'x'\n_y2 = 1", "on_crash=<x>; _y2=1"},
                    Good{"a = 1\na = 2\n", "a=2"}, Good{"a = '\xc3\xa9'", "a=<\xc3\xa9>"}));

struct Bad {
  const char* text;
  u32 line, column;
  const char* message;
};

class BadSyntax : public testing::TestWithParam<Bad> {};

TEST_P(BadSyntax, IsRefusedWhereItStands) {
  const Bad& bad = GetParam();
  const auto document = parse(bad.text);
  ASSERT_FALSE(document.has_value()) << bad.text;
  EXPECT_EQ(document.error().at.line, bad.line) << bad.text;
  EXPECT_EQ(document.error().at.column, bad.column) << bad.text;
  EXPECT_EQ(document.error().message, bad.message) << bad.text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadSyntax,
    testing::Values(
        Bad{"memory 512", 1, 8, "found the number 512, expected '=' or '+=' after 'memory'"},
        Bad{"memory", 1, 7, "found end of file, expected '=' or '+=' after 'memory'"},
        Bad{"memory =\n", 1, 9, "found end of line, expected a value: a number, a string in quotes or a list in [ ]"},
        Bad{"a = 1\n\n  512 = memory", 3, 3, "found the number 512, expected the name of a setting"},
        Bad{"type = pvh", 1, 8, "found the name 'pvh', expected a number, a string in quotes or a list in [ ]"},
        Bad{"epc = 64M", 1, 7, "found '64M', expected a number without a unit, or a string in quotes"},
        Bad{"a = -1", 1, 5, "found '-', expected a name, a number, a string or one of = += [ ] , ;"},
        Bad{"a = \x01", 1, 5, "found byte 0x01, expected a name, a number, a string or one of = += [ ] , ;"},
        Bad{"a = 1 2", 1, 7, "found the number 2, expected end of line or ';' after the value of 'a'"},
        Bad{"a = 'x' 'y'", 1, 9, "found a string, expected end of line or ';' after the value of 'a'"},
        Bad{"a = \"x", 1, 5, "this string has no closing \" on its line"},
        Bad{"a = 'x\nb = 1'", 1, 5, "this string has no closing ' on its line"},
        Bad{"a = 'x\\'", 1, 5, "this string has no closing ' on its line"},
        Bad{"a = 'x\\", 1, 7, "found a backslash at the end of the line, expected a character after it"},
        Bad{R"(a = 'ab\q')", 1, 8, "found \\ and 'q', expected one of \\ ' \" a b f n r t v x or octal digits"},
        Bad{R"(a = '\x4')", 1, 6, "found \\x with fewer than two hexadecimal digits after it"},
        Bad{R"(a = '\400')", 1, 6, "found an octal escape above \\377, which is not a byte"},
        Bad{"a = [1 2]", 1, 8, "found the number 2, expected ',' or ']' in a list"},
        Bad{"a = [,]", 1, 6, "found ',', expected a value: a number, a string in quotes or a list in [ ]"},
        Bad{"a = [1,\n2", 2, 2, "found end of file, expected ',' or ']' in a list"},
        Bad{"a = [1\n\nb = 2", 3, 1, "found the name 'b', expected ',' or ']' in a list"},
        Bad{"a = ]", 1, 5, "found ']', expected a value: a number, a string in quotes or a list in [ ]"},
        Bad{"a = 'x'\na += ['y']", 2, 6, "'+=' adds a list to a single value, expected a string"},
        Bad{"a = ['x']\na += 'y'", 2, 6, "'+=' adds a single value to a list, expected a list in [ ]"},
        Bad{"a = 1\na += 2", 2, 6, "'+=' cannot be used with numbers, expected a string or a list"},
        Bad{"a + = 1", 1, 3, "found '+', expected a name, a number, a string or one of = += [ ] , ;"}));

TEST(Syntax, ListsThatAreTooDeepAreRefused) {
  const auto document = parse("a = " + std::string(100000, '['));
  ASSERT_FALSE(document.has_value());
  EXPECT_EQ(document.error().message, "lists are nested more than 32 deep");
  EXPECT_EQ(document.error().at, (Position{1, 5 + 32}));
}

TEST(Syntax, MoreValuesThanAnyDomainHasAreRefused) {
  std::string many = "1";
  while (many.size() < 39'990) many += ",1";
  EXPECT_TRUE(parse("a = [" + many + "]").has_value());
  for (const std::string& text : {"a = [" + many + "," + many + "]", "a = [" + many + "]\nb = [" + many + "]"}) {
    const auto document = parse(text);
    ASSERT_FALSE(document.has_value());
    EXPECT_EQ(document.error().message, "found more than 20000 values");
  }
}

/// Twice the settings are twice the work, and a little more.
TEST(Syntax, ManySettingsAreNotComparedEachWithEach) {
  const auto comparisons = [](unsigned settings) {
    std::string text;
    for (unsigned i = 0; i < settings; ++i) text += "a" + std::to_string(i) + "=1;";
    const auto document = parse(text);
    return document && document->settings.size() == settings ? document->comparisons : 0;
  };
  const std::size_t few = comparisons(1000), many = comparisons(16'000);
  EXPECT_GT(few, 0u);
  EXPECT_LT(many, 16 * 2 * few);
}

TEST(Syntax, ASettingThatIsReplacedIsWarnedOf) {
  const auto document = parse("a = 1\n\na = 2\n");
  ASSERT_TRUE(document.has_value());
  ASSERT_EQ(document->warnings.size(), 1u);
  EXPECT_EQ(document->warnings[0], (Diagnostic{{1, 1}, "'a' is set again in line 3"}));
}

}  // namespace
}  // namespace cloister::toolstack::xl
