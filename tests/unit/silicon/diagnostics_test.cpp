// The diagnostics door: what it shows of pages and of what processors did.
#include "silicon/sgx/epc/diagnostics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sgx_machine.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {
namespace {

using arch::EnclsLeaf;
using arch::PageType;
using arch::SgxError;
using diagnostics::Observer;

Package::Config config_on(EpcMemory::Pointer memory) {
  auto config = SgxMachine::plain_config();
  config.memory = std::move(memory);
  return config;
}

TEST(Diagnostics, ShowPagesWithTheirEnclave) {
  const auto memory = EpcMemory::create(SgxMachine::epc_pages);
  ASSERT_TRUE(memory);
  const auto observer = Observer::open((*memory)->epcm_descriptor());
  ASSERT_TRUE(observer);
  EXPECT_EQ(observer->pages(), SgxMachine::epc_pages);
  EXPECT_TRUE(observer->valid_pages().empty());

  SgxMachine m(config_on(*memory));
  ASSERT_EQ(m.ecreate_page(7, SgxMachine::plain_secs()), 0);
  ASSERT_EQ(m.ecreate_page(40, SgxMachine::plain_secs()), 0);
  ASSERT_EQ(m.eadd_page(3, 40, m.base, m.flags_of(PageType::reg, 5), EpcBytes{}), 0);
  ASSERT_EQ(m.eadd_page(63, 7, m.base + 0x2000, m.flags_of(PageType::tcs, 0), EpcBytes{}), 0);
  ASSERT_EQ(m.run(epa, static_cast<u64>(PageType::va), m.page(0)), 0);
  ASSERT_EQ(m.run(eblock, 0, m.page(3)), 0);

  const auto pages = observer->valid_pages();
  ASSERT_EQ(pages.size(), 5u);
  const u64 first = m.secs(7).live().eid, second = m.secs(40).live().eid;
  const auto expect = [&](std::size_t i, u32 index, PageType type, u64 eid, u64 address) {
    EXPECT_EQ(pages[i].index, index);
    EXPECT_EQ(pages[i].type, type) << index;
    EXPECT_EQ(pages[i].eid, eid) << index;
    EXPECT_EQ(pages[i].enclave_address, address) << index;
  };
  expect(0, 0, PageType::va, 0, 0);
  expect(1, 3, PageType::reg, second, m.base);
  expect(2, 7, PageType::secs, first, 0);
  expect(3, 40, PageType::secs, second, 0);
  expect(4, 63, PageType::tcs, first, m.base + 0x2000);
  EXPECT_TRUE(pages[1].read && !pages[1].write && pages[1].execute && pages[1].blocked);
  EXPECT_FALSE(pages[4].read || pages[4].write || pages[4].execute || pages[4].blocked);

  const diagnostics::PageCounts counts = observer->count();
  EXPECT_EQ(counts.free, SgxMachine::epc_pages - 5);
  EXPECT_THAT(counts.valid, testing::ElementsAre(2, 1, 1, 1, 0, 0, 0));
  EXPECT_EQ(counts.blocked, 1u);
  EXPECT_EQ(counts.pending + counts.modified, 0u);
}

/// 32-bit protected mode with 4 MiB pages, linear as physical (SDM vol. 3A, 4.3): ENCLS needs paging.
void set_up_paging(SgxMachine& m) {
  constexpr u64 page_directory = SgxMachine::ram + 0x1f000;
  constexpr u32 present_writable_large = 0x83;
  m.put(page_directory, present_writable_large);
  SystemRegs s = m.vcpu().system();
  s.cr0 = arch::cr0::pe | arch::cr0::ne | arch::cr0::pg;
  s.cr4 = arch::cr4::pse;
  s.cr3 = page_directory;
  s.efer = 0;
  for (Segment& segment : s.seg) segment = {0x10, 0, 0xffff'ffff, 0xc093};
  s.seg[arch::seg_cs] = {0x08, 0, 0xffff'ffff, 0xc09b};
  m.vcpu().set_system(s);
}

TEST(Diagnostics, CountLeavesFailuresOfEinitAndInstructions) {
  SgxMachine m;
  set_up_paging(m);
  constexpr u64 program = SgxMachine::ram + 0x8000;
  // encls; hlt
  m.put(program, std::array<u8, 4>{0x0f, 0x01, 0xcf, 0xf4});
  const auto execute = [&](EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx) {
    GeneralRegs r;
    r.rip = program;
    r.gpr[arch::rax] = static_cast<u64>(leaf);
    r.gpr[arch::rbx] = rbx;
    r.gpr[arch::rcx] = rcx;
    r.gpr[arch::rdx] = rdx;
    m.vcpu().set_general(r);
    EXPECT_EQ(m.vcpu().run(100).reason, ExitReason::hlt);
    return m.vcpu().general().gpr[arch::rax];
  };
  const auto observer = Observer::of(m.door().impl());
  ASSERT_TRUE(observer);
  EXPECT_EQ(execute(EnclsLeaf::eremove, 0, m.page(1), 0), 0u);
  EXPECT_EQ(execute(EnclsLeaf::eremove, 0, m.page(2), 0), 0u);
  // A SIGSTRUCT of zeros.
  EXPECT_EQ(execute(EnclsLeaf::einit, SgxMachine::sigstruct, m.page(0), SgxMachine::token),
            static_cast<u64>(SgxError::invalid_sig_struct));
  EXPECT_EQ(m.door().eremove(SgxMachine::first_frame).rax, 0u);

  const diagnostics::Events events = observer->events();
  EXPECT_EQ(events.encls[static_cast<u32>(EnclsLeaf::eremove)], 2u) << "root mode's is not the guest's";
  EXPECT_EQ(events.encls[static_cast<u32>(EnclsLeaf::einit)], 1u);
  EXPECT_EQ(events.einit_failures[static_cast<u64>(SgxError::invalid_sig_struct)], 1u);
  EXPECT_EQ(events.einit_failures[0], 0u);
  EXPECT_EQ(events.encls[static_cast<u32>(EnclsLeaf::ecreate)], 0u);
  EXPECT_EQ(events.instructions, m.vcpu().instructions());
  EXPECT_GE(events.instructions, 3u);
  EXPECT_EQ(events.asynchronous_exits, 0u);
}

TEST(Diagnostics, CountAsynchronousExits) {
  SgxMachine m;
  ASSERT_EQ(m.ecreate_page(0, SgxMachine::plain_secs()), 0);
  EnclaveState& e = m.cpu().enclave;
  e.active = true;
  e.mode64 = true;
  e.xsave_page = e.gpr_page = 2;
  e.tcs = 1;
  e.epoch = enter_enclave(m.epcm(0));
  asynchronous_exit(m.cpu(), m.package(), nullptr, 0);
  EXPECT_EQ(Observer::of(m.door().impl())->events().asynchronous_exits, 1u);
}

TEST(Diagnostics, TouchNothing) {
  constexpr u64 pages = u64{1} << 27;
  const auto memory = EpcMemory::create(pages);
  ASSERT_TRUE(memory);
  const auto observer = Observer::open((*memory)->epcm_descriptor());
  ASSERT_TRUE(observer);
  EXPECT_EQ(observer->count().free, pages);
  struct stat status {};
  ASSERT_EQ(::fstat((*memory)->epcm_descriptor(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, 64 << 10);
}

TEST(Diagnostics, RefuseOtherDescriptors) {
  const auto memory = EpcMemory::create(8);
  ASSERT_TRUE(memory);
  EXPECT_FALSE(Observer::open(-1));
  EXPECT_FALSE(Observer::open(0));
  EXPECT_EQ(Observer::open((*memory)->pages_descriptor()).error(), MemoryError::wrong_layout);
}

TEST(Diagnostics, AnyBytesAreShownAsSomething) {
  const auto memory = EpcMemory::create(64);
  ASSERT_TRUE(memory);
  std::memset(reinterpret_cast<u8*>((*memory)->impl().entries()), 0xff, 64 * sizeof(EpcmEntry));
  const auto observer = Observer::open((*memory)->epcm_descriptor());
  ASSERT_TRUE(observer);
  EXPECT_EQ(observer->count().free, 64u) << "type 255 is no page's";
  std::memset(reinterpret_cast<u8*>((*memory)->impl().entries()), 0x03, 64 * sizeof(EpcmEntry));
  EXPECT_EQ(observer->count().valid[3], 64u);
}

}  // namespace
}  // namespace cloister::silicon
