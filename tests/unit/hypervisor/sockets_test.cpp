// A domain with vsock, whose guest has no driver for it (hypervisor/machine.cpp).
#include <gtest/gtest.h>

#include <thread>

#include "guests.hpp"
#include "silicon/silicon.hpp"
#include "unit/platform/peers_in_memory.hpp"

asm(R"(
  .pushsection .rodata
  .code32
  .global guest_sits, guest_sits_end
  .balign 16
guest_sits:
    cmpl $0x10531af4, 0xe0008000    # device 1 is there
    jne 2f
1:  pause
    jmp 1b
2:  mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
    hlt
guest_sits_end:
  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(sits)

using platform::virtio::PeersInMemory;

class Sockets : public testing::Test {
 protected:
  DomainSpec spec(vmx::ClockMode clock = vmx::ClockMode::host) const {
    DomainSpec spec = spec_of(sits(), clock);
    EXPECT_TRUE(platform::add_pci(spec.map, 40));
    spec.vsock = {.peers = peers_, .cid = 7};
    return spec;
  }
  std::shared_ptr<PeersInMemory> peers_ = std::make_shared<PeersInMemory>();
  silicon::Package package_{silicon::Package::Config{}};
};

// Nobody is waited for: neither when the domain is paused, nor when it ends.
TEST_F(Sockets, AreServedAndStopNobody) {
  const auto program = peers_->call(22);
  const auto domain = Domain::create(package_, spec(), {});
  ASSERT_TRUE(domain) << domain.error();
  std::atomic<bool> stop = false;
  RunOptions how;
  how.timeout = std::chrono::seconds(120);
  how.stop = &stop;
  Outcome outcome;
  std::jthread runner([&] { outcome = (*domain)->run(how); });
  while (peers_->waits == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  (*domain)->pause();
  EXPECT_TRUE(program->closed) << "the guest has no driver";
  const unsigned waits = peers_->waits;
  (*domain)->unpause();
  while (peers_->waits == waits) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  stop = true;
  runner.join();
  EXPECT_EQ(outcome.ending, Ending::stopped) << outcome.report;
}

TEST_F(Sockets, NeedABusAndTheHostsClock) {
  DomainSpec without = spec();
  without.map.pci.reset();
  EXPECT_EQ(Domain::create(package_, without, {}).error(), "vsock needs a PCI bus");
  EXPECT_EQ(Domain::create(package_, spec(vmx::ClockMode::deterministic), {}).error(),
            "vsock is never the same twice: not with the deterministic clock");
}

}  // namespace
}  // namespace cloister::hypervisor
