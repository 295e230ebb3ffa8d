// A domain in a process of its own, on EPC that its parent keeps: what the parent sees and cleans.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hypervisor/epc/clean.hpp"
#include "machine.hpp"
#include "silicon/sgx/epc/diagnostics.hpp"
#include "silicon/silicon.hpp"

namespace cloister::payload {
namespace {

using silicon::EpcMemory;
using silicon::diagnostics::Observer;

constexpr u64 mib = 1 << 20;

Setting with_memory(u64 epc_mib) {
  Setting setting;
  setting.epc_mib = epc_mib;
  setting.memory = EpcMemory::create(epc_mib * mib / arch::page_size).value();
  return setting;
}

TEST(EpcOfAnotherProcess, ShowsWhatItsGuestDid) {
  const Setting setting = with_memory(64);
  const auto observer = Observer::open(setting.memory->epcm_descriptor());
  ASSERT_TRUE(observer);
  EXPECT_EQ(observer->events().instructions, 0u);
  EXPECT_EQ(run_in_child("sgx", setting), 0);
  const auto events = observer->events();
  EXPECT_GT(events.instructions, 1000u);
  EXPECT_GT(events.encls[static_cast<u32>(arch::EnclsLeaf::eremove)], 0u);
  EXPECT_EQ(observer->count().free, observer->pages()) << "its domain cleaned up";
}

TEST(EpcOfAnotherProcess, IsCleanedAfterItsDeath) {
  Setting setting = with_memory(4);
  setting.clock = silicon::ClockMode::host;
  const auto observer = Observer::open(setting.memory->epcm_descriptor());
  ASSERT_TRUE(observer);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    (void)run_payload("hostile_endless", setting);
    ::_exit(0);
  }
  while (observer->events().instructions == 0) ::usleep(1000);
  EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "it runs for ever";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  const std::vector<silicon::EpcSection> frames{{arch::Mfn{0x1000}, setting.memory->pages()}};
  silicon::Package own({.epc = frames, .memory = setting.memory});
  EXPECT_TRUE(hypervisor::clean_epc(own, frames).empty());
}

}  // namespace
}  // namespace cloister::payload
