// Threads of an enclave whose domain has the least EPC that there can be: with the pager at work on each of their
// processors. Runs under the thread sanitizer, too.
#include <gtest/gtest.h>

#include "hypervisor/specification.hpp"
#include "payload/suite/working_set_run.hpp"

namespace cloister::payload {
namespace {

using hypervisor::EpcPaging;

class Threads : public testing::TestWithParam<EpcPaging> {};

/// All four write an enclave that is more than twice what there is, and nothing of it gets lost.
TEST_P(Threads, WriteEverythingAtTheLeastEpc) {
  constexpr u32 pages = 600, threads = 4, some = 400;
  WorkingSet set{.pages = pages, .threads = threads, .runs = {}};
  WorkingSet::Run everywhere{.orders = {}, .times = 2, .writes = true};
  for (u32 thread = 0; thread < threads; ++thread) everywhere.orders.push_back(uniform(pages, some, thread + 1));
  WorkingSet::Run at_the_end{.orders = {}, .times = 1, .writes = false};
  for (u32 thread = 0; thread < threads; ++thread) {
    std::vector<u32> part(pages / threads);
    for (u32 i = 0; i < part.size(); ++i) part[i] = thread * (pages / threads) + i;
    at_the_end.orders.push_back(part);
  }
  set.runs = {everywhere, at_the_end};
  for (const unsigned storm : {0u, 1u}) {
    Seen seen;
    Setting setting = small(set, GetParam());
    setting.clock = silicon::ClockMode::host;
    setting.frames = hypervisor::least_paged_epc(setting.epc_mib * 256, threads);
    setting.storm = storm;
    use(set, setting, seen);
    ASSERT_EQ(seen.lines.size(), 2u);
    EXPECT_EQ(seen.lines[1].counters, seen.lines[0].touched) << "every increment is there";
    EXPECT_GT(seen.pager.loads, 300u);
    EXPECT_EQ(seen.pager.lost, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Threads, testing::Values(EpcPaging::trap, EpcPaging::oss),
                         [](const auto& tested) { return tested.param == EpcPaging::trap ? "trap" : "oss"; });

}  // namespace
}  // namespace cloister::payload
