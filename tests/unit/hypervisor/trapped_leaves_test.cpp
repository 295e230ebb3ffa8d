// Leaves that the hypervisor runs for a guest whose EPC it pages by trapping (SDM vol. 3D, 38.3): what the guest finds
// when what it names is out, or is to be. The check lists of the leaves are the payload suite's (Paged.*).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "hypervisor/epc/exiting_leaves.hpp"
#include "paged_guest.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::SgxError;
namespace flags = arch::secinfo_flags;

class TrappedLeaves : public PagedGuest {
 protected:
  using PagedGuest::PagedGuest;

  struct Seen {
    std::optional<vmx::Event> fault;
    u64 address = 0, rax = 0, status = 0;
    bool over = false;  ///< RIP has gone on
  };
  Seen encls(EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) {
    vmx::GeneralRegs general;
    general.gpr[arch::rax] = static_cast<u64>(leaf);
    general.gpr[arch::rbx] = rbx;
    general.gpr[arch::rcx] = rcx;
    general.gpr[arch::rdx] = rdx;
    general.rip = rip;
    general.rflags |= arch::rflags::status;
    cpu().vcpu.set_general(general);
    vmx::Exit exit;
    exit.reason = vmx::ExitReason::encls;
    exit.instruction_length = 3;
    {
      const MutexLock held(machine_.lock);
      EXPECT_FALSE(exits::handler_of(exit.reason)(cpu(), exit)) << "the domain goes on";
    }
    general = cpu().vcpu.general();
    const Seen seen{.fault = std::exchange(cpu().event, std::nullopt),
                    .address = cpu().vcpu.system().cr2,
                    .rax = general.gpr[arch::rax],
                    .status = general.rflags & arch::rflags::status,
                    .over = general.rip == rip + 3};
    EXPECT_TRUE(seen.over || general.rip == rip);
    return seen;
  }
  static void expect_unchanged(const Seen& seen, EnclsLeaf leaf) {
    EXPECT_FALSE(seen.fault) << static_cast<unsigned>(seen.fault->vector);
    EXPECT_TRUE(seen.over);
    EXPECT_EQ(seen.rax, static_cast<u64>(leaf));
    EXPECT_EQ(seen.status, arch::rflags::status);
  }
  static void expect_code(const Seen& seen, SgxError error, u64 status) {
    EXPECT_FALSE(seen.fault) << static_cast<unsigned>(seen.fault->vector);
    EXPECT_TRUE(seen.over);
    EXPECT_EQ(seen.rax, static_cast<u64>(error));
    EXPECT_EQ(seen.status, status);
  }
  static void expect_done(const Seen& seen) { expect_code(seen, SgxError::success, 0); }
  static void expect_zf(const Seen& seen, SgxError error) { expect_code(seen, error, arch::rflags::zf); }
  static void expect_gp(const Seen& seen) {
    ASSERT_TRUE(seen.fault);
    EXPECT_EQ(seen.fault->vector, arch::vector::gp);
    EXPECT_FALSE(seen.over);
  }
  static void expect_pf(const Seen& seen, u64 address, u32 error = arch::pfec::p | arch::pfec::wr | arch::pfec::sgx) {
    ASSERT_TRUE(seen.fault);
    EXPECT_EQ(seen.fault->vector, arch::vector::pf);
    EXPECT_EQ(seen.fault->error, error);
    EXPECT_EQ(seen.address, address);
    EXPECT_FALSE(seen.over);
  }

  Seen ecreate(u64 page, u64 more_attributes = 0) {
    arch::Secs secs{};
    secs.size = secs.base = u64{1} << 30;
    secs.ssa_frame_size = 1;
    secs.attributes = {arch::attributes::mode64bit | arch::attributes::debug | more_attributes, 3};
    put(source_at, secs);
    put(secinfo_at, arch::Secinfo{});
    put(pageinfo_at, arch::Pageinfo{0, source_at, secinfo_at, 0});
    return encls(EnclsLeaf::ecreate, pageinfo_at, linear_of(page));
  }
  void make_secs(u64 page) { expect_unchanged(ecreate(page), EnclsLeaf::ecreate); }
  static u64 enclave_address(u64 page) { return (u64{1} << 30) + page * arch::page_size; }
  Seen eadd(u64 page, u64 secs) {
    std::array<u8, arch::page_size> contents;
    contents.fill(static_cast<u8>(page));
    put(source_at, contents);
    put(secinfo_at, arch::Secinfo{flags::r | flags::w | u64{static_cast<u8>(arch::PageType::reg)} << 8, {}});
    put(pageinfo_at, arch::Pageinfo{enclave_address(page), source_at, secinfo_at, linear_of(secs)});
    return encls(EnclsLeaf::eadd, pageinfo_at, linear_of(page));
  }
  void add(u64 page, u64 secs) { expect_unchanged(eadd(page, secs), EnclsLeaf::eadd); }
  Seen epa(u64 page) { return encls(EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), linear_of(page)); }
  Seen remove(u64 page) { return encls(EnclsLeaf::eremove, 0, linear_of(page)); }
  Seen ewb(u64 page, u64 version_at) {
    put(pageinfo_at, arch::Pageinfo{0, image_at, pcmd_at, 0});
    return encls(EnclsLeaf::ewb, pageinfo_at, linear_of(page), version_at);
  }
  Seen eldu(u64 page, u64 linaddr, u64 secs_at, u64 version_at) {
    put(pageinfo_at, arch::Pageinfo{linaddr, image_at, pcmd_at, secs_at});
    return encls(EnclsLeaf::eldu, pageinfo_at, linear_of(page), version_at);
  }
  /// By the guest, whose leaves do not exit for that.
  void block_and_track(u64 page, u64 secs) {
    for (const auto& [leaf, of] : {std::pair(EnclsLeaf::eblock, page), std::pair(EnclsLeaf::etrack, secs)}) {
      ASSERT_EQ(pager().need(at(of), 0), Pager::Need::there);
      EXPECT_EQ(package_.encls(leaf, {.page = *pager().frame_of(at(of))}).rax, 0u);
    }
  }
  /// So that other pages are not the last that the processor needed.
  void need_others() {
    for (u64 page = 400; page < 400 + Pager::pinned; ++page) EXPECT_EQ(pager().need(at(page), 0), Pager::Need::there);
  }
  void evict(u64 page) {
    need_others();
    EXPECT_TRUE(pager().evict(at(page))) << page;
  }
};

TEST_F(TrappedLeaves, SiliconWithoutOssIsPagedSo) { EXPECT_EQ(pager().mode(), PagingMode::trap); }

TEST_F(TrappedLeaves, ASecsWhoseChildrenAreOutHasChildren) {
  make_secs(0);
  add(1, 0);
  add(2, 0);
  expect_unchanged(epa(10), EnclsLeaf::epa);
  evict(1);
  evict(2);
  expect_zf(remove(0), SgxError::child_present);
  put(image_at, u64{0x1234});
  expect_zf(ewb(0, linear_of(10) + 8), SgxError::child_present);
  EXPECT_EQ(get<u64>(image_at), 0x1234u) << "it has not gone";
  EXPECT_EQ(get<arch::Pageinfo>(pageinfo_at).linaddr, 0u);
  // What EWB looks at first is seen first.
  expect_pf(ewb(0, linear_of(11) + 8), linear_of(11) + 8);
  expect_gp(ewb(0, linear_of(0) + 8));

  expect_done(remove(1));
  expect_zf(remove(0), SgxError::child_present);
  expect_done(remove(2));
  expect_done(remove(0));
}

TEST_F(TrappedLeaves, ASecsComesWithTheChildThatIsNamed) {
  make_secs(0);
  add(1, 0);
  evict(1);
  evict(0);
  expect_done(remove(1));
  expect_done(remove(0));
  EXPECT_EQ(pager().counts().loads, 2u);
}

/// Kernels begin with EREMOVE of all EPC.
TEST_F(TrappedLeaves, WhatWasNeverUsedIsRemovedWithoutAFrame) {
  for (u64 page = 0; page < pages; ++page) expect_done(remove(page));
  EXPECT_EQ(pager().counts().resident, 0u);
  expect_gp(encls(EnclsLeaf::eremove, 0, linear_of(3) + 8));
  expect_pf(encls(EnclsLeaf::eremove, 0, source_at), source_at);
}

TEST_F(TrappedLeaves, PagesOfTheGuestsGoAndComeBackWhileTheirOperandsAreOut) {
  make_secs(0);
  add(1, 0);
  expect_unchanged(epa(10), EnclsLeaf::epa);
  block_and_track(1, 0);
  for (const u64 page : {1u, 10u, 0u}) evict(page);
  const u64 slot = linear_of(10) + 24;
  expect_done(ewb(1, slot));
  EXPECT_EQ(get<arch::Pageinfo>(pageinfo_at).linaddr, enclave_address(1));
  EXPECT_FALSE(pager().secs_of(at(1)));
  expect_done(remove(1));
  for (const u64 page : {10u, 0u}) evict(page);
  expect_zf(eldu(20, enclave_address(2), linear_of(0), slot), SgxError::mac_compare_fail);
  EXPECT_FALSE(pager().secs_of(at(20)));
  for (const u64 page : {10u, 0u}) evict(page);
  expect_done(eldu(20, enclave_address(1), linear_of(0), slot));
  EXPECT_EQ(pager().secs_of(at(20)), at(0));
  evict(20);
  expect_zf(remove(0), SgxError::child_present);
}

/// A slot that is in use is overwritten, and that is told in CF.
TEST_F(TrappedLeaves, AnOccupiedSlotIsSaidInCarry) {
  make_secs(0);
  expect_unchanged(epa(10), EnclsLeaf::epa);
  expect_unchanged(epa(11), EnclsLeaf::epa);
  expect_unchanged(epa(12), EnclsLeaf::epa);
  expect_done(ewb(11, linear_of(10)));
  expect_code(ewb(12, linear_of(10)), SgxError::va_slot_occupied, arch::rflags::cf);
  expect_done(eldu(12, 0, 0, linear_of(10)));
}

/// EWB cannot be undone: whether it can write is seen before, and only what it writes is marked as written.
TEST_F(TrappedLeaves, EwbWritesAllOrNothing) {
  make_secs(0);
  add(1, 0);
  expect_unchanged(epa(10), EnclsLeaf::epa);
  const auto dirty = [&](u64 linear) { return (get<u64>(entry_of(linear)) & pte::d) != 0; };
  put(image_at, u64{0x1234});
  expect_zf(ewb(1, linear_of(10)), SgxError::page_not_blocked);
  block_and_track(1, 0);
  for (const u64 unwritable : {pcmd_at, image_at}) {
    put(entry_of(unwritable), get<u64>(entry_of(unwritable)) & ~pte::rw);
    expect_pf(ewb(1, linear_of(10)), unwritable, arch::pfec::p | arch::pfec::wr);
    put(entry_of(unwritable), get<u64>(entry_of(unwritable)) | pte::rw);
  }
  for (const u64 linear : {image_at, pcmd_at}) EXPECT_FALSE(dirty(linear));
  EXPECT_EQ(get<u64>(image_at), 0x1234u);
  expect_done(ewb(1, linear_of(10)));
  for (const u64 linear : {image_at, pcmd_at, pageinfo_at}) EXPECT_TRUE(dirty(linear));
  EXPECT_NE(get<u64>(image_at), 0x1234u);
  expect_done(eldu(1, enclave_address(1), linear_of(0), linear_of(10)));
}

/// One page of EPC for two operands: the fault is about the one that the leaf looks at first.
TEST_F(TrappedLeaves, FaultsAreAboutTheOperandThatIsWrong) {
  make_secs(0);
  expect_unchanged(epa(10), EnclsLeaf::epa);
  put(pcmd_at,
      arch::Pcmd{
          .secinfo = {u64{static_cast<u8>(arch::PageType::reg)} << 8, {}}, .enclaveid = 0, .reserved = {}, .mac = {}});
  expect_pf(eldu(20, enclave_address(1), linear_of(0), linear_of(0) + 8), linear_of(0) + 8);
  expect_pf(eldu(20, enclave_address(1), linear_of(10), linear_of(10) + 8), linear_of(10));
  expect_gp(eldu(20, enclave_address(1), linear_of(0) + 8, linear_of(10) + 8));
  expect_pf(eldu(20, enclave_address(1), source_at, linear_of(10) + 8), source_at);
  add(1, 0);
  expect_pf(eadd(1, 0), linear_of(1));
  expect_pf(eadd(2, 10), linear_of(10));
  expect_pf(eadd(2, 1), linear_of(1));
  // Of operands in memory: only once the EPCM has nothing against the leaf.
  put(entry_of(source_at), u64{0});
  put(pageinfo_at, arch::Pageinfo{enclave_address(2), source_at, secinfo_at, linear_of(10)});
  expect_pf(encls(EnclsLeaf::eadd, pageinfo_at, linear_of(2)), linear_of(10));
  put(pageinfo_at, arch::Pageinfo{enclave_address(2), source_at, secinfo_at, linear_of(0)});
  expect_pf(encls(EnclsLeaf::eadd, pageinfo_at, linear_of(2)), source_at, 0);
}

TEST_F(TrappedLeaves, TheProvisioningKeyIsForThoseWhoMayHaveIt) {
  expect_unchanged(ecreate(0, arch::attributes::provisionkey), EnclsLeaf::ecreate);
  machine_.spec.sgx_provision = false;
  expect_gp(ecreate(1, arch::attributes::provisionkey));
  make_secs(1);
  expect_pf(ecreate(1, arch::attributes::provisionkey), linear_of(1));
}

/// A guest that is held finds nothing done, and does it later.
TEST_F(TrappedLeaves, WaitWhileTheGuestIsHeld) {
  make_secs(0);
  {
    const ClosedGate closed(machine_.gate());
    for (const Seen& seen : {eadd(1, 0), ecreate(2)}) {
      EXPECT_FALSE(seen.fault);
      EXPECT_FALSE(seen.over);
    }
  }
  add(1, 0);
  make_secs(2);
}

/// So no page that a leaf works on is identified before the leaf and what it did are told.
TEST_F(TrappedLeaves, NoGateClosesWhileOneRuns) {
  std::atomic<bool> closed = false;
  std::jthread closer;
  {
    const MutexLock held(machine_.lock);
    EXPECT_TRUE(machine_.as_guest(cpu(), [&] {
      closer = std::jthread([&] {
        const ClosedGate gate(machine_.gate());
        closed = true;
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      EXPECT_FALSE(closed);
    }));
  }
  closer.join();
  EXPECT_TRUE(closed);
}

TEST_F(TrappedLeaves, AGivenPageIsNoEpc) {
  make_secs(0);
  const std::array list{at(5)};
  {
    const MutexLock held(machine_.lock);
    EXPECT_EQ(machine_.give_epc(list)->pages, 1u);
  }
  expect_pf(eadd(5, 0), linear_of(5), arch::pfec::p | arch::pfec::sgx);
  expect_pf(remove(5), linear_of(5), arch::pfec::p | arch::pfec::sgx);
}

/// By trapping where there is OSS, which the guest has, too: it must not see what the hypervisor does without it.
class TrappedBesideOss : public TrappedLeaves {
 protected:
  TrappedBesideOss() : TrappedLeaves(true, EpcPaging::trap) {}
  arch::Rdinfo look(u64 page) {
    put(rdinfo_at, arch::Rdinfo{});
    expect_done(encls(EnclsLeaf::erdinfo, rdinfo_at, linear_of(page)));
    return get<arch::Rdinfo>(rdinfo_at);
  }
};

TEST_F(TrappedBesideOss, ErdinfoSaysWhatTheGuestHas) {
  EXPECT_EQ(pager().mode(), PagingMode::trap);
  make_secs(0);
  add(1, 0);
  EXPECT_EQ(look(0).status, arch::rdinfo::child_present);
  EXPECT_EQ(look(1).enclavecontext, at(0).value);
  evict(1);
  evict(0);
  EXPECT_EQ(look(0).status, arch::rdinfo::child_present) << "it is out";
  EXPECT_EQ(look(0).enclavecontext, 0u);
  EXPECT_EQ(look(1).enclavecontext, at(0).value) << "by the address that it has for the guest";
  EXPECT_EQ(look(1).status, 0u);
  expect_code(encls(EnclsLeaf::erdinfo, rdinfo_at, linear_of(2)), SgxError::pg_invld, arch::rflags::cf);
  expect_code(encls(EnclsLeaf::erdinfo, rdinfo_at, source_at), SgxError::pg_nonepc, arch::rflags::cf);
}

// ---- which leaves exit

u64 exiting(bool oss, EpcPaging how, bool provision = true) {
  silicon::Package package(silicon_of(oss));
  DomainSpec spec = paged_spec(package, how);
  spec.sgx_provision = provision;
  Machine machine(package, spec);
  machine.epc = {{first_frame, how == EpcPaging::none ? pages : frames}};
  EXPECT_TRUE(boot(machine));
  const vmx::Controls& controls = machine.bootstrap().controls;
  EXPECT_EQ(controls.encls_exiting, controls.encls_bitmap != 0);
  const bool trapping = machine.pager != nullptr && machine.pager->mode() == PagingMode::trap;
  EXPECT_EQ(controls.epc_virtualization, !trapping && (how != EpcPaging::none || !provision));
  return controls.encls_bitmap;
}

TEST(ExitingLeaves, AreNoneInADomainThatIsNotPagedByTrapping) {
  EXPECT_EQ(exiting(true, EpcPaging::none), 0u);
  EXPECT_EQ(exiting(true, EpcPaging::oss), 0u);
  EXPECT_EQ(exiting(true, EpcPaging::automatic), 0u);
  EXPECT_EQ(exiting(true, EpcPaging::none, false), vmx::leaf_bits(EnclsLeaf::ecreate));
}

TEST(ExitingLeaves, AreThoseThatTakeAPage) {
  using enum EnclsLeaf;
  const u64 all = vmx::leaf_bits(ecreate, eadd, eremove, eldb, eldu, epa, ewb, eaug, emodt, erdinfo, eldbc, elduc);
  EXPECT_EQ(exiting(true, EpcPaging::trap), all);
  EXPECT_EQ(exiting(true, EpcPaging::trap, false), all);
  EXPECT_EQ(exiting(false, EpcPaging::automatic), all | vmx::leaf_bits(etrackc)) << "what is hidden exits, too";
}

/// What the guest's CPUID does not list it does not have, also where the hypervisor would run it.
class TrappedWithoutSgx2 : public TrappedLeaves {
 protected:
  TrappedWithoutSgx2() : TrappedLeaves(true, EpcPaging::trap, 1u << 1) {}
};

TEST_F(TrappedWithoutSgx2, HiddenLeavesAreInvalid) {
  make_secs(0);
  for (const EnclsLeaf leaf : {EnclsLeaf::eaug, EnclsLeaf::emodt, EnclsLeaf::emodpr})
    expect_gp(encls(leaf, pageinfo_at, linear_of(1)));
}

TEST(EpcPagingMode, FollowsWhatIsAskedForAndThere) {
  EXPECT_EQ(paging_mode(EpcPaging::automatic, true), PagingMode::oss);
  EXPECT_EQ(paging_mode(EpcPaging::automatic, false), PagingMode::trap);
  EXPECT_EQ(paging_mode(EpcPaging::trap, true), PagingMode::trap);
  EXPECT_EQ(paging_mode(EpcPaging::oss, true), PagingMode::oss);
}

TEST(EpcPagingMode, OssTakesSiliconThatHasIt) {
  silicon::Package package(silicon_of(false));
  auto spec = paged_spec(package, EpcPaging::oss);
  const auto domain = Domain::create(package, spec, {{first_frame, frames}});
  ASSERT_FALSE(domain);
  EXPECT_THAT(domain.error(), testing::HasSubstr("no OSS and ENCLV"));
}

}  // namespace
}  // namespace cloister::hypervisor
