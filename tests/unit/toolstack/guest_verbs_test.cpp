// The table of what can be asked of a guest: its arguments, and that openapi.json and cloister(1) say the same.
#include "verbs/guest_verbs.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>

namespace cloister::toolstack {
namespace {

using nlohmann::json;

constexpr std::string_view instruments[] = {"drum", "horn", "lute"}, one_instrument[] = {"drum"};
constexpr VerbArgument play_arguments[] = {{"on", "INSTRUMENT", "", instruments},
                                           {.member = "times", .shown = "TIMES", .help = "", .fallback = 3}};
constexpr VerbArgument drum_arguments[] = {{"on", "INSTRUMENT", "", one_instrument}};
constexpr VerbArgument count_arguments[] = {{"bars", "BARS", ""}};
constexpr GuestVerbRow play{GuestVerb::pause, false, "play", "", "", play_arguments},
    drum{GuestVerb::pause, false, "drum", "", "", drum_arguments},
    count{GuestVerb::pause, false, "count", "", "", count_arguments};

/// The arguments, or what is wrong with them.
json read(const GuestVerbRow& row, const json& request) {
  JsonFields fields(request);
  json arguments = read_arguments(row, fields);
  fields.refuse_others();
  return fields.ok() ? arguments : json(fields.error());
}

TEST(GuestVerbs, HaveTheirArgumentsWithWhatIsMissing) {
  EXPECT_EQ(read(play, {{"on", "lute"}, {"times", 7u}}), json({{"on", "lute"}, {"times", 7}}));
  EXPECT_EQ(read(play, {{"on", "horn"}}), json({{"on", "horn"}, {"times", 3}}));
  EXPECT_EQ(read(guest_verbs[0], json::object()), json::object());
}

TEST(GuestVerbs, SayWhatIsOffered) {
  EXPECT_EQ(read(play, {{"on", "bell"}}), R"('on': expected "drum", "horn" or "lute")");
  EXPECT_EQ(read(drum, {{"on", "bell"}}), R"('on': expected "drum")");
  EXPECT_EQ(read(play, json::object()), "'on' is missing");
  EXPECT_EQ(read(count, json::object()), "'bars' is missing");
  EXPECT_EQ(read(count, {{"bars", 4u}}), json({{"bars", 4}}));
  EXPECT_EQ(read(play, {{"on", 1}}), "'on': expected a string");
  EXPECT_EQ(read(play, {{"on", "drum"}, {"times", "7"}}), "'times': expected a whole number from 0 to 4294967295");
  EXPECT_EQ(read(play, {{"on", "drum"}, {"loud", true}}), "unknown member 'loud'");
}

TEST(GuestVerbs, AreFoundByTheirWord) {
  for (const GuestVerbRow& row : guest_verbs) EXPECT_EQ(find_guest_verb(row.word), &row);
  EXPECT_EQ(find_guest_verb("sing"), nullptr);
}

/// The schema that OpenAPI should have of a request's body.
json schema_of(const GuestVerbRow& row) {
  json schema{{"type", "object"}, {"additionalProperties", false}};
  for (const VerbArgument& argument : row.arguments) {
    json& property = schema["properties"][argument.member];
    if (argument.words.empty()) {
      property = {{"type", "integer"}, {"minimum", 0}};
      if (argument.fallback) property["default"] = *argument.fallback;
    } else {
      property = {{"type", "string"}, {"enum", argument.words}};
    }
    if (!argument.fallback) schema["required"].push_back(argument.member);
  }
  return schema;
}

// That the paths are there is the test of the routes.
TEST(GuestVerbs, HaveTheBodiesOfTheDocument) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/openapi.json");
  const json document = json::parse(file);
  for (const GuestVerbRow& row : guest_verbs) {
    const json& operation = document.at("paths").at(std::string("/v1/domains/{domain}/") + row.word).at("post");
    EXPECT_EQ(operation["operationId"], row.word);
    ASSERT_EQ(operation.contains("requestBody"), !row.arguments.empty()) << row.word;
    if (row.arguments.empty()) continue;
    json schema = operation["requestBody"]["content"]["application/json"]["schema"];
    for (json& property : schema["properties"]) property.erase("description");
    EXPECT_EQ(schema, schema_of(row)) << row.word;
  }
}

/// Whether a manual page's entry is headed by this verb, perhaps among others, and has its arguments at its end.
bool heads(const std::string& heading, const GuestVerbRow& row) {
  std::string end = " DOMAIN";
  for (const VerbArgument& argument : row.arguments) {
    std::string words;
    for (const std::string_view word : argument.words) words.append(words.empty() ? "" : "|").append(word);
    const std::string number = argument.fallback ? std::string("[") + argument.shown + "]" : argument.shown;
    end += " " + (words.empty() ? number : words);
  }
  return heading.ends_with(end) && std::regex_search(heading, std::regex(std::string("(^|, )") + row.word + "[ ,]"));
}

TEST(GuestVerbs, HaveAnEntryInTheManualPage) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/packaging/man/cloister.1");
  std::vector<std::string> headings;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(".B "))
      headings.push_back(std::regex_replace(line.substr(3), std::regex(R"(\\f.|\\(?=-))"), ""));
  }
  for (const GuestVerbRow& row : guest_verbs)
    EXPECT_TRUE(std::ranges::any_of(headings, [&](const auto& heading) { return heads(heading, row); })) << row.word;
}

}  // namespace
}  // namespace cloister::toolstack
