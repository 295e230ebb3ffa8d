// docs/configuration.md names every key with its type and default, and no other; docs/daemon.md every event of the log.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "config/keys.hpp"
#include "verbs/guest_verbs.hpp"

namespace cloister::toolstack {
namespace {

struct Row {
  std::string name, type, fallback, doc;
};

/// Rows of the table whose first column is a key: | `name` | type | default | meaning |
std::vector<Row> documented() {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/configuration.md");
  EXPECT_TRUE(file.is_open());
  const std::regex row(R"(\| `([a-z_]+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|)");
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    std::smatch cells;
    if (std::regex_match(line, cells, row)) rows.push_back({cells[1], cells[2], cells[3], cells[4]});
  }
  return rows;
}

TEST(Documentation, HasEveryKeyWithTypeDefaultAndMeaning) {
  const std::vector<Row> rows = documented();
  ASSERT_EQ(rows.size(), keys().size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].name, keys()[i].name);
    EXPECT_EQ(rows[i].type, keys()[i].type) << rows[i].name;
    EXPECT_EQ(rows[i].fallback, keys()[i].fallback) << rows[i].name;
    EXPECT_EQ(rows[i].doc, keys()[i].doc) << rows[i].name;
  }
}

// The defaults of lehash, uuid, epc_min and sgx_platform are none of the domain's values.
TEST(Documentation, HasTheDefaultsThatADomainHas) {
  for (const Key& key : keys()) {
    if (key.fallback == "required" || key.name == "lehash" || key.name == "uuid" || key.name == "epc_min" ||
        key.name == "sgx_platform")
      continue;
    EXPECT_EQ(key.value.write(DomainConfig{}).value_or("none"), key.fallback) << key.name;
  }
}

TEST(Documentation, HasASectionForEveryKey) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/configuration.md");
  std::stringstream text;
  text << file.rdbuf();
  for (const Key& key : keys()) {
    EXPECT_NE(text.str().find("\n### " + std::string(key.name) + "\n"), std::string::npos) << key.name;
  }
}

/// What daemon, VMMs and cloister-transfer log as an event; with `any`, every literal that might be one.
std::set<std::string> events_in_source(bool any) {
  const std::regex call(any ? R"(([^;{}]*))" : R"(\blog(?:_as)?\(([^;{}]*))"),
      literal(R"rx(["=]([a-z]+(?:-[a-z]+)*)[" ])rx");
  std::set<std::string> events;
  for (const char* const room : {"/src/daemon", "/src/vmm", "/src/transfer"}) {
    for (const auto& entry : std::filesystem::directory_iterator(CLOISTER_SOURCE_DIR + std::string(room))) {
      if (entry.path().extension() != ".cpp") continue;
      std::ifstream file(entry.path());
      std::stringstream stream;
      stream << file.rdbuf();
      const std::string text = stream.str();
      for (std::sregex_iterator found(text.begin(), text.end(), call), none; found != none; ++found) {
        const std::string part = (*found)[1];
        for (std::sregex_iterator word(part.begin(), part.end(), literal); word != none; ++word)
          events.insert((*word)[1]);
      }
    }
  }
  return events;
}

TEST(Documentation, HasEveryEventOfTheLog) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/daemon.md");
  std::set<std::string> rows;
  bool in_table = false;
  const std::regex event("`([a-z-]+)`");
  for (std::string line; std::getline(file, line);) {
    in_table = line.starts_with("|") && (in_table || line.starts_with("| event |"));
    if (!in_table) continue;
    const std::string names = line.substr(0, line.find(" | "));
    for (std::sregex_iterator found(names.begin(), names.end(), event), none; found != none; ++found)
      rows.insert((*found)[1]);
  }
  const auto logged = events_in_source(false), mentioned = events_in_source(true);
  EXPECT_GT(logged.size(), 40u);
  for (const std::string& name : logged) EXPECT_TRUE(rows.contains(name)) << name;
  for (const std::string& name : rows) {
    const bool verb = name.starts_with("domain-") && find_guest_verb(name.substr(sizeof "domain-" - 1)) != nullptr;
    EXPECT_TRUE(verb || mentioned.contains(name)) << name;
  }
}

}  // namespace
}  // namespace cloister::toolstack
