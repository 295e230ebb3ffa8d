// docs/configuration.md names every key with its type and default, and no other.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include "config/keys.hpp"

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

}  // namespace
}  // namespace cloister::toolstack
