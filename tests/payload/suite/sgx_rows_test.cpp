// The check lists of the SGX leaves (guest/payload/sgx/rows.hpp): every row's own verdict, and the report of all rows
// in docs/sgx-checks.md, which CLOISTER_WRITE_REPORT=1 writes anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "machine.hpp"
#include "silicon/silicon.hpp"

namespace cloister::payload {
namespace {

constexpr const char* programs[] = {"sgx_build", "sgx_paging", "sgx_edmm", "sgx_enclave"};

/// Under the host's clock: only there is one processor in an enclave while the other runs.
const Result& console_of(const std::string& name) {
  static std::map<std::string, Result> results;
  const auto known = results.find(name);
  if (known != results.end()) return known->second;
  auto result = run_payload(
      name, {.epc_mib = 64, .clock = silicon::ClockMode::host, .vcpus = 2, .cpuid = {{"sgx-eupdatesvn", true}}});
  EXPECT_TRUE(result) << result.error();
  return results[name] = result ? std::move(*result) : Result{};
}

/// "ROW LEAF | NAME | condition | result | where" as a row of a table, under a heading for each leaf.
std::string report() {
  std::string text =
      "# The checks of the SGX leaves\n\n"
      "Every condition that the manual lists for a leaf, in its order, what software sees of it, and what tests it.\n"
      "`LEAF.NAME` is a check in `src/silicon/sgx/`; `scripts/sgx-checks` switches each of them off and sees its test\n"
      "fail. `LEAF:NAME` is what is no check: a success with its change of state, or a rule that needs none here. "
      "This\n"
      "page is made of what the payloads `sgx_*` print (`guest/payload/sgx/`):\n"
      "`CLOISTER_WRITE_REPORT=1 build/release/bin/payload_suite --gtest_filter='SgxRows.*'`.\n";
  std::string leaf;
  for (const char* const program : programs) {
    for (const std::string& line : console_of(program).lines_with("ROW")) {
      const std::size_t bar = line.find(" | "), next = line.find(" | ", bar + 3);
      const std::string row_leaf = line.substr(4, bar - 4);
      if (row_leaf != leaf) {
        leaf = row_leaf;
        text += "\n## " + leaf + "\n\n| row | condition | result | tested by |\n|---|---|---|---|\n";
      }
      text += "| `" + line.substr(bar + 3, next - bar - 3) + "`" + line.substr(next) + " |\n";
    }
  }
  return text;
}

class SgxRowsOf : public testing::TestWithParam<const char*> {};

TEST_P(SgxRowsOf, AgreeWithTheManual) {
  const Result& result = console_of(GetParam());
  EXPECT_EQ(result.outcome.ending, hypervisor::Ending::powered_off) << result.outcome.report << result.console;
  const auto cases = result.lines_with("CASE");
  EXPECT_FALSE(cases.empty());
  for (const std::string& line : cases) EXPECT_THAT(line, testing::EndsWith(" ok"));
  EXPECT_THAT(result.lines_with("DONE"),
              testing::ElementsAre("DONE cases=" + std::to_string(cases.size()) + " failures=0"));
}

INSTANTIATE_TEST_SUITE_P(Programs, SgxRowsOf, testing::ValuesIn(programs),
                         [](const auto& row) { return std::string(row.param); });

// Where ECREATE exits, for want of sgx_provision, software sees the same: every check, in the same order.
TEST(SgxRows, AgreeWithTheManualWhereEcreateExits) {
  const auto result = run_payload("sgx_build", {.epc_mib = 64,
                                                .clock = silicon::ClockMode::host,
                                                .vcpus = 2,
                                                .sgx_provision = false,
                                                .cpuid = {{"sgx-eupdatesvn", true}}});
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->outcome.ending, hypervisor::Ending::powered_off) << result->outcome.report << result->console;
  const auto cases = result->lines_with("CASE");
  EXPECT_EQ(cases.size(), console_of("sgx_build").lines_with("CASE").size());
  for (const std::string& line : cases) EXPECT_THAT(line, testing::EndsWith(" ok"));
}

TEST(SgxRows, ReportIsCurrent) {
  const std::string path = CLOISTER_SOURCE_DIR "/docs/sgx-checks.md", text = report();
  if (std::getenv("CLOISTER_WRITE_REPORT") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  const std::string found{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(found == text)
      << "docs/sgx-checks.md is not what the payloads print; its first paragraph says how to write it";
}

}  // namespace
}  // namespace cloister::payload
