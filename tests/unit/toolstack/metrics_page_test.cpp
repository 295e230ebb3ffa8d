// docs/metrics.md has every metric with its type, labels and meaning, and no other.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>

#include "daemon/metrics.hpp"

namespace cloister::toolstack {
namespace {

namespace diagnostics = vmx::diagnostics;

/// Something of everything that is counted.
struct SeenEpc final : diagnostics::Observer {
  u64 pages() const override { return 1; }
  std::vector<diagnostics::Page> valid_pages() const override { return {}; }
  diagnostics::PageCounts count() const override { return {.free = 1}; }
  diagnostics::Events events() const override {
    diagnostics::Events events;
    events.encls.fill(1);
    events.enclu.fill(1);
    events.einit_failures.fill(1);
    return events;
  }
};
struct SomeEpc final : vmx::EpcMemory {
  u64 pages() const override { return 1; }
  int pages_descriptor() const override { return -1; }
  int epcm_descriptor() const override { return -1; }
  tl::expected<std::unique_ptr<diagnostics::Observer>, vmx::MemoryError> observe() const override {
    return std::make_unique<SeenEpc>();
  }
};

std::string all_metrics() {
  auto page = DomainPage::create();
  EXPECT_TRUE(page);
  for (auto& exits : page->counts().exits) exits = 1;
  DomainInfo domain;
  domain.name = "one";
  domain.state = "running";
  domain.grants = {{.package = 0, .extents = {{arch::Mfn{256}, 1}}}};
  domain.paged.emplace();
  domain.balloon.emplace();
  domain.move.emplace();
  domain.devices =
      DeviceFigures{.disks = {{.vdev = "xvda", .latency = {{}}}}, .interfaces = {{}}, .vsock = VsockFigures{}};
  domain.page = std::make_shared<const DomainPage>(std::move(*page));
  domain.memory = std::make_shared<SomeEpc>();
  MachineEpcInfo epc;
  epc.packages.emplace_back();
  return metrics(epc, {domain}, DefinitionCounts{}, std::vector<KeyInfo>{}, {{{"GET", 200}, 1}});
}

std::string in_backquotes(const std::string& text) { return "`" + text + "`"; }

/// A row of the page's table for each family of the text.
std::set<std::string> rows_of(const std::string& text) {
  struct Family {
    std::string type, meaning;
    bool sampled = false;
    std::set<std::string> labels;
  };
  std::map<std::string, Family> families;
  const std::regex about(R"(# (HELP|TYPE) (\w+) (.*))"), sample(R"((\w+)(?:\{(.*)\})? \S+)"), label(R"((\w+)=")");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch part;
    if (std::regex_match(line, part, about)) {
      (part[1] == "HELP" ? families[part[2]].meaning : families[part[2]].type) = part[3];
    } else if (std::regex_match(line, part, sample)) {
      const std::string pairs = part[2];
      // A histogram's samples have names of their own.
      const std::string name = std::regex_replace(std::string(part[1]), std::regex("_(bucket|sum|count)$"), "");
      Family& family = families[families.contains(name) && families[name].type == "histogram" ? name : part[1].str()];
      family.sampled = true;
      for (std::sregex_iterator pair(pairs.begin(), pairs.end(), label), end; pair != end; ++pair) {
        if (family.type != "histogram" || (*pair)[1] != "le") family.labels.insert((*pair)[1]);
      }
    } else {
      ADD_FAILURE() << line;
    }
  }
  std::set<std::string> rows;
  for (const auto& [name, family] : families) {
    EXPECT_TRUE(family.sampled) << name << " has no sample here";
    std::string labels;
    if (family.labels.empty()) labels = "none";
    for (const std::string& one : family.labels) labels += (labels.empty() ? "" : ", ") + in_backquotes(one);
    rows.insert("| " + in_backquotes(name) + " | " + family.type + " | " + labels + " | " + family.meaning + " |");
  }
  return rows;
}

std::set<std::string> rows_of_the_page() {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/metrics.md");
  EXPECT_TRUE(file.is_open());
  std::set<std::string> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| `cloister_")) rows.insert(line);
  }
  return rows;
}

TEST(MetricsPage, HasEveryMetricAndNoOther) { EXPECT_EQ(rows_of_the_page(), rows_of(all_metrics())); }

}  // namespace
}  // namespace cloister::toolstack
