// A page of EPC without a frame, in either way of paging: what brings it, and what does not (exits/ept.cpp).
#include <array>

#include "paged_guest.hpp"

namespace cloister::hypervisor {
namespace {

constexpr u64 page = 5;
constexpr u8 load_eax_from_rbx[] = {0x8b, 0x03};
constexpr u64 unread = 0x1234;

class PagedAccess : public PagedGuest, public testing::WithParamInterface<EpcPaging> {
 protected:
  PagedAccess() : PagedGuest(true, GetParam()) {}

  /// The exit of an access to the page, with an instruction at RIP that reads it.
  vmx::Exit exit_of(vmx::EptQualification access) {
    EXPECT_TRUE(machine_.memory.write(Gpa{rip}, std::as_bytes(std::span(load_eax_from_rbx))));
    vmx::GeneralRegs general;
    general.rip = rip;
    general.gpr[arch::rax] = unread;
    general.gpr[arch::rbx] = linear_of(page);
    cpu().vcpu.set_general(general);
    vmx::Exit exit;
    exit.reason = vmx::ExitReason::ept_violation;
    exit.qualification = access.encode();
    exit.linear = arch::Gva{linear_of(page)};
    exit.physical = at(page);
    return exit;
  }
  void handle(const vmx::Exit& exit) {
    const MutexLock held(machine_.lock);
    EXPECT_FALSE(exits::handler_of(exit.reason)(cpu(), exit)) << "the domain goes on";
  }
  void expect_tried_again() {
    EXPECT_TRUE(pager().frame_of(at(page)));
    EXPECT_EQ(cpu().vcpu.general().rip, rip);
    EXPECT_EQ(cpu().vcpu.general().gpr[arch::rax], unread);
  }
  static constexpr vmx::EptQualification read{
      .read = true, .write = false, .fetch = false, .linear_valid = true, .translated = true};
};

/// Outside an enclave EPC is the abort page, whoever's it is.
TEST_P(PagedAccess, OrdinaryReadsAreOfTheAbortPageAndLoadNothing) {
  handle(exit_of(read));
  EXPECT_EQ(cpu().vcpu.general().gpr[arch::rax], 0xffff'ffffu);
  EXPECT_EQ(cpu().vcpu.general().rip, rip + sizeof load_eax_from_rbx);
  EXPECT_FALSE(pager().frame_of(at(page)));
  EXPECT_EQ(pager().counts().resident, 0u);
}

/// RIP is the AEP: what is there has nothing to do with the access, whatever the guest has put there.
TEST_P(PagedAccess, AfterAnEnclaveNothingIsDecoded) {
  vmx::Exit exit = exit_of(read);
  exit.enclave = true;
  handle(exit);
  expect_tried_again();
}

TEST_P(PagedAccess, FetchesPageWalksAndDeliveriesGetThePage) {
  auto fetch = read, walk = read;
  fetch.fetch = true;
  walk.translated = false;
  for (const auto& access : {fetch, walk}) {
    handle(exit_of(access));
    expect_tried_again();
    for (u64 other = 100; other < 100 + Pager::pinned; ++other) pager().need(at(other), 0);
    EXPECT_TRUE(pager().evict(at(page)));
  }
  vmx::Exit delivery = exit_of(read);
  delivery.vectoring = vmx::Event{.vector = 14};
  handle(delivery);
  expect_tried_again();
}

INSTANTIATE_TEST_SUITE_P(Modes, PagedAccess, testing::Values(EpcPaging::trap, EpcPaging::oss), [](const auto& tested) {
  return std::string(tested.param == EpcPaging::trap ? "trap" : "oss");
});

}  // namespace
}  // namespace cloister::hypervisor
