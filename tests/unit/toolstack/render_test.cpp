// What --dryrun prints for the example, against files that a person has read.
#include "plan/render.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "plan/plan.hpp"
#include "unit/policy/processor.hpp"

namespace cloister::toolstack {
namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string golden(const std::string& name) {
  return contents(std::string(CLOISTER_SOURCE_DIR "/tests/unit/toolstack/golden/") + name);
}

DomainPlan plan(const std::string& text) {
  auto read = read_config(text);
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  if (!read) return {};
  EXPECT_TRUE(read->warnings.empty());
  auto made = make_plan(read->config, tests::Processor());
  EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().message);
  return made.value_or(DomainPlan{});
}

std::string example() { return contents(CLOISTER_SOURCE_DIR "/examples/debian.cfg"); }

TEST(DryRun, ExampleAsText) { EXPECT_EQ(render_text(plan(example())), golden("debian.txt")); }
TEST(DryRun, ExampleAsJson) { EXPECT_EQ(render_json(plan(example())), golden("debian.json")); }

TEST(DryRun, WithoutEpcAsText) {
  std::string text = example();
  const std::string epc = "epc = 64";
  ASSERT_NE(text.find(epc), std::string::npos);
  EXPECT_EQ(render_text(plan(text.replace(text.find(epc), epc.size(), "epc = 0"))), golden("no-epc.txt"));
}

TEST(DryRun, JsonIsWholeWhateverBytesTheFileHas) {
  const auto json = nlohmann::json::parse(render_json(plan("name = 'd'\nkernel = 'k\xff\\n'\ncmdline = '\"'")));
  EXPECT_EQ(json["cmdline"], "\"");
  EXPECT_EQ(json["ramdisk"], nullptr);
  EXPECT_EQ(json["kernel"], "k\xef\xbf\xbd\n");
}

}  // namespace
}  // namespace cloister::toolstack
