// Domains that use an enclave's pages: what is paged is right at the least EPC that there can be, on several
// processors, and costs nothing to who is not paged or has enough.
#include <gtest/gtest.h>

#include <thread>

#include "working_set_run.hpp"

namespace cloister::payload {
namespace {

using hypervisor::EpcPaging;
using hypervisor::PagerCounts;
using vmx::ExitReason;

WorkingSet of_one_thread(u32 pages, u32 times) {
  return {.pages = pages, .threads = 1, .runs = {{.orders = {streaming(pages)}, .times = times, .writes = false}}};
}

/// Under the deterministic clock, so to the instruction.
TEST(StaticDomain, TakesNoExitMoreAndNoInstruction) {
  const WorkingSet set = of_one_thread(600, 3);
  Seen whole;
  use(set, small(set, EpcPaging::none), whole);
  for (const ExitReason none : {ExitReason::encls, ExitReason::sgx_conflict, ExitReason::ept_violation})
    EXPECT_EQ(whole.exits(none), 0u) << vmx::name_of(none);

  // As on silicon where no paging could ever be by OSS.
  Seen plain;
  Setting without = small(set, EpcPaging::none);
  without.features.sgx.oss = without.features.sgx.enclv = false;
  use(set, without, plain);
  EXPECT_EQ(plain.outcome.instructions, whole.outcome.instructions);
  for (std::size_t reason = 0; reason < vmx::exit_reasons; ++reason)
    EXPECT_EQ(plain.counts.exits[reason], whole.counts.exits[reason]) << reason;

  // What is paged and has a frame for each page: each comes once, and by trapping the leaves exit that take a page.
  for (const EpcPaging how : {EpcPaging::trap, EpcPaging::oss}) {
    Seen paged;
    use(set, small(set, how), paged);
    // A leaf that exits is not retired by the processor.
    EXPECT_EQ(paged.outcome.instructions + paged.exits(ExitReason::encls), whole.outcome.instructions);
    EXPECT_EQ(paged.exits(ExitReason::encls), how == EpcPaging::trap ? set.epc_pages() : 0u);
    EXPECT_EQ(paged.exits(ExitReason::sgx_conflict), 0u);
    EXPECT_EQ(paged.exits(ExitReason::ept_violation), how == EpcPaging::oss ? set.epc_pages() : 0u);
    EXPECT_EQ(paged.pager.evictions + paged.pager.loads + paged.pager.gates, 0u);
  }
}

class Paging : public testing::TestWithParam<EpcPaging> {};

/// Beside a guest that touches more than it has, on the same package: who has what it uses takes not one exit, and
/// loses not one page.
TEST_P(Paging, ANeighbourWithEnoughNoticesNothing) {
  const WorkingSet own = of_one_thread(200, 5), everything = of_one_thread(900, 1000);
  Seen alone;
  use(own, small(own, GetParam()), alone);

  std::atomic<bool> stop = false;
  PagerCounts greedy;
  silicon::Package package({.epc = {{arch::Mfn{0x10'0000}, 1024}, {arch::Mfn{0x20'0000}, 256}}}, engine_under_test());
  std::jthread beside([&] {
    Setting setting = small(everything, GetParam());
    setting.clock = silicon::ClockMode::host;
    setting.package = &package;
    setting.sections = {{arch::Mfn{0x20'0000}, 256}};
    setting.frames = 256;
    setting.stop = &stop;
    setting.pager_counts = &greedy;
    setting.ramdisk_bytes = everything.ramdisk();
    EXPECT_TRUE(run_payload("sgx_working_set", setting));
  });
  while (greedy.evictions < 1000) std::this_thread::yield();
  const u64 before = greedy.evictions;
  Seen seen;
  Setting setting = small(own, GetParam());
  setting.package = &package;
  setting.sections = {{arch::Mfn{0x10'0000}, setting.frames}};
  use(own, setting, seen);
  EXPECT_GT(greedy.evictions, before);
  stop = true;
  EXPECT_EQ(seen.outcome.instructions, alone.outcome.instructions);
  for (std::size_t reason = 0; reason < vmx::exit_reasons; ++reason)
    EXPECT_EQ(seen.counts.exits[reason], alone.counts.exits[reason]) << reason;
  EXPECT_EQ(seen.pager.evictions + seen.pager.loads, 0u);
  EXPECT_EQ(seen.pager.resident, own.epc_pages());
}

INSTANTIATE_TEST_SUITE_P(Modes, Paging, testing::Values(EpcPaging::trap, EpcPaging::oss),
                         [](const auto& tested) { return tested.param == EpcPaging::trap ? "trap" : "oss"; });

}  // namespace
}  // namespace cloister::payload
