// A domain that uses its working set to the end, and all that was seen of it.
#pragma once

#include <gtest/gtest.h>

#include "working_set.hpp"

namespace cloister::payload {

struct Seen {
  hypervisor::Outcome outcome;
  std::vector<Sighting> lines;  ///< of the runs
  hypervisor::RunCounts counts{};
  hypervisor::PagerCounts pager;
  u64 exits(vmx::ExitReason reason) const { return counts.exits[static_cast<std::size_t>(reason)]; }
};

/// With EPC for its enclave; a frame for each page.
inline Setting small(const WorkingSet& set, hypervisor::EpcPaging how) {
  Setting setting;
  setting.epc_mib = (set.epc_pages() + 255) / 256;
  setting.vcpus = set.threads;
  if (how != hypervisor::EpcPaging::none) setting.frames = setting.epc_mib * 256;
  setting.paging = how;
  return setting;
}

/// Its enclave finds in every run what it should.
inline void use(const WorkingSet& set, Setting setting, Seen& seen) {
  setting.ramdisk_bytes = set.ramdisk();
  setting.counts = &seen.counts;
  setting.pager_counts = &seen.pager;
  const auto result = run_payload("sgx_working_set", setting);
  ASSERT_TRUE(result) << result.error();
  seen.outcome = result->outcome;
  EXPECT_EQ(seen.outcome.ending, hypervisor::Ending::powered_off) << seen.outcome.report << result->console;
  for (const std::string& line : result->lines_with("AT")) seen.lines.push_back(*sighting_of(line));
  ASSERT_EQ(seen.lines.size(), 2 + set.runs.size()) << result->console;
  seen.lines.erase(seen.lines.begin(), seen.lines.begin() + 2);
  for (std::size_t i = 0; i < set.runs.size(); ++i) EXPECT_EQ(seen.lines[i].sum, expected_sum(set.runs[i])) << i;
}

}  // namespace cloister::payload
