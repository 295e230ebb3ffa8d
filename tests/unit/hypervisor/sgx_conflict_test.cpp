// What SGX_CONFLICT exits come to (SDM vol. 3D, 38.3): each code, for collisions with the hypervisor and of the guest
// with itself.
#include <gtest/gtest.h>

#include "guests.hpp"
#include "hypervisor/boot.hpp"
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using vmx::SgxConflict;

class SgxConflictExit : public testing::Test {
 protected:
  static constexpr u64 all_flags = arch::rflags::status;

  void SetUp() override {
    ASSERT_TRUE(boot(machine_));
    vmx::GeneralRegs general = cpu().vcpu.general();
    general.rflags |= all_flags;
    cpu().vcpu.set_general(general);
    start_ = general.rip;
  }

  Processor& cpu() { return machine_.bootstrap(); }
  vmx::GeneralRegs now() { return cpu().vcpu.general(); }

  void leaf_exits(EnclsLeaf leaf, SgxConflict code, bool enclave = false) {
    vmx::GeneralRegs general = now();
    general.gpr[arch::rax] = static_cast<u64>(leaf);
    cpu().vcpu.set_general(general);
    vmx::Exit exit;
    exit.reason = vmx::ExitReason::sgx_conflict;
    exit.qualification = vmx::SgxConflictQualification{code, 0}.encode();
    exit.instruction_length = 3;
    exit.enclave = enclave;
    EXPECT_FALSE(exits::handler_of(exit.reason)(cpu(), exit)) << "the domain goes on";
  }

  void expect_gp(EnclsLeaf leaf) {
    ASSERT_TRUE(cpu().event);
    EXPECT_EQ(cpu().event->vector, arch::vector::gp);
    EXPECT_EQ(cpu().event->error, 0u);
    EXPECT_EQ(now().rip, start_);
    EXPECT_EQ(now().gpr[arch::rax], static_cast<u64>(leaf));
  }
  void expect_code(arch::SgxError error) {
    EXPECT_FALSE(cpu().event);
    EXPECT_EQ(now().rip, start_ + 3);
    EXPECT_EQ(now().gpr[arch::rax], static_cast<u64>(error));
    EXPECT_EQ(now().rflags & all_flags, arch::rflags::zf);
  }
  void expect_retry(EnclsLeaf leaf) {
    EXPECT_FALSE(cpu().event);
    EXPECT_EQ(now().rip, start_);
    EXPECT_EQ(now().gpr[arch::rax], static_cast<u64>(leaf));
    EXPECT_EQ(now().rflags & all_flags, all_flags);
  }

  silicon::Package package_{silicon::Package::Config{}};
  Machine machine_{package_, spec_of({})};
  u64 start_ = 0;
};

TEST_F(SgxConflictExit, APageInUseFaults) {
  leaf_exits(EnclsLeaf::eremove, SgxConflict::page_exception);
  expect_gp(EnclsLeaf::eremove);
}

TEST_F(SgxConflictExit, APageInUseIsACode) {
  leaf_exits(EnclsLeaf::emodt, SgxConflict::page_error);
  expect_code(arch::SgxError::epc_page_conflict);
}

TEST_F(SgxConflictExit, AnIncompleteCycleIsACode) {
  leaf_exits(EnclsLeaf::etrack, SgxConflict::tracking_reference);
  expect_code(arch::SgxError::prev_trk_incmpl);
}

TEST_F(SgxConflictExit, ATrackingFacilityInUseFaultsForEtrack) {
  leaf_exits(EnclsLeaf::etrack, SgxConflict::tracking_resource);
  expect_gp(EnclsLeaf::etrack);
}

TEST_F(SgxConflictExit, ATrackingFacilityInUseIsACodeForEtrackc) {
  leaf_exits(EnclsLeaf::etrackc, SgxConflict::tracking_resource);
  expect_code(arch::SgxError::epc_page_conflict);
}

TEST_F(SgxConflictExit, TheHypervisorsOwnLeafDoesNotShow) {
  for (const SgxConflict code : {SgxConflict::tracking_resource, SgxConflict::tracking_reference,
                                 SgxConflict::page_exception, SgxConflict::page_error}) {
    cpu().root_leaves_at_entry = machine_.root_leaves.ended();
    const RootLeaves::Running running(machine_.root_leaves);
    leaf_exits(EnclsLeaf::etrack, code);
    expect_retry(EnclsLeaf::etrack);
  }
}

/// RIP is the AEP by then, and RAX belongs to ERESUME.
TEST_F(SgxConflictExit, InsideAnEnclaveEresumeTriesAgain) {
  leaf_exits(EnclsLeaf::eldb, SgxConflict::page_exception, true);
  expect_retry(EnclsLeaf::eldb);
}

}  // namespace
}  // namespace cloister::hypervisor
