// The machine's counters, drawn from by several processes that die and come back.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>

#include "silicon/memory/sealed_memory.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {
namespace {

Package::Config config_with(MachineCounters::Pointer counters) {
  return {.epc = {}, .memory = nullptr, .counters = std::move(counters), .root_secret = {1}};
}

TEST(MachineCounters, BringTheirBootNumberToEveryPackage) {
  const auto machine = MachineCounters::create(7), next_power_on = MachineCounters::create(8);
  ASSERT_TRUE(machine);
  const auto adopted = MachineCounters::adopt((*machine)->descriptor());
  ASSERT_TRUE(adopted);
  EXPECT_EQ((*adopted)->boot(), 7u);
  Package one(config_with(*machine)), other(config_with(*adopted)), later(config_with(*next_power_on));
  // A report of one domain's enclave names the KEYID with which the other's derives the key that checks it.
  EXPECT_EQ(one.impl().keys().report_keyid(), other.impl().keys().report_keyid());
  EXPECT_EQ(one.impl().keys().paging_key(), other.impl().keys().paging_key());
  EXPECT_NE(one.impl().keys().report_keyid(), later.impl().keys().report_keyid());
  EXPECT_NE(one.impl().keys().paging_key(), later.impl().keys().paging_key());
}

TEST(MachineCounters, RefuseOtherDescriptors) {
  EXPECT_EQ(MachineCounters::adopt(-1).error(), MemoryError::not_sealed);
  const auto small = make_sealed("test", 64), blank = make_sealed("test", arch::page_size);
  EXPECT_EQ(MachineCounters::adopt(small->get()).error(), MemoryError::wrong_size);
  EXPECT_EQ(MachineCounters::adopt(blank->get()).error(), MemoryError::wrong_layout);
}

/// What a process has drawn, in memory that its parent sees.
struct Drawn {
  static constexpr u64 most = 20'000;
  std::atomic<u64> count;
  std::array<u64, most> eids, versions;
};

/// A process that starts a package on the machine and draws until it has enough or is killed.
pid_t start_drawing(int counters, Drawn& drawn) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  auto adopted = MachineCounters::adopt(counters);
  if (!adopted) ::_exit(1);
  Package package(config_with(*adopted));
  PlatformKeys& keys = package.impl().keys();
  for (u64 i = 0; i < Drawn::most; ++i) {
    drawn.eids[i] = keys.next_eid();
    drawn.versions[i] = keys.next_version();
    drawn.count = i + 1;
  }
  ::_exit(0);
}

TEST(MachineCounters, NoProcessDrawsWhatAnotherHad) {
  constexpr std::size_t processes = 6;
  auto* const drawn = static_cast<Drawn*>(
      ::mmap(nullptr, processes * sizeof(Drawn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(static_cast<void*>(drawn), MAP_FAILED);
  const auto machine = MachineCounters::create(1);
  ASSERT_TRUE(machine);
  const auto finish = [](pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  };
  // Three at a time; the first is killed in the middle, and its successor goes on.
  pid_t running[3];
  for (std::size_t i = 0; i < 3; ++i) running[i] = start_drawing((*machine)->descriptor(), drawn[i]);
  while (drawn[0].count == 0) ::usleep(100);
  ::kill(running[0], SIGKILL);
  finish(running[0]);
  EXPECT_EQ(finish(start_drawing((*machine)->descriptor(), drawn[3])), 0);
  for (std::size_t i = 1; i < 3; ++i) EXPECT_EQ(finish(running[i]), 0);
  for (std::size_t i = 4; i < processes; ++i) EXPECT_EQ(finish(start_drawing((*machine)->descriptor(), drawn[i])), 0);

  std::vector<u64> eids, versions;
  for (std::size_t i = 0; i < processes; ++i) {
    eids.insert(eids.end(), drawn[i].eids.begin(), drawn[i].eids.begin() + static_cast<i64>(drawn[i].count));
    versions.insert(versions.end(), drawn[i].versions.begin(),
                    drawn[i].versions.begin() + static_cast<i64>(drawn[i].count));
  }
  EXPECT_GE(eids.size(), (processes - 1) * Drawn::most);
  for (std::vector<u64>* const values : {&eids, &versions}) {
    std::ranges::sort(*values);
    EXPECT_EQ(std::ranges::adjacent_find(*values), values->end());
    EXPECT_GE(values->front(), 1u) << "0 marks a free slot of a version array";
  }
  ::munmap(drawn, processes * sizeof(Drawn));
}

}  // namespace
}  // namespace cloister::silicon
