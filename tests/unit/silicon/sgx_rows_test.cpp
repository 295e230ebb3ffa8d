// Rows of the SGX check lists that no payload reaches (guest/payload/sgx/rows.hpp names these tests): another leaf on
// the same page at the same moment, page states that no leaf makes, modes that the payloads do not run in, and ENCLV.
#include "sgx_bench.hpp"
#include "sgx_signer.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;
namespace f = arch::secinfo_flags;

class SgxRows : public SgxBench {
 protected:
  using SgxBench::SgxBench;
  static constexpr u32 secs_page = 0, child = 1, tcs_page = 2, ssa_page = 3, data = 4, output = 5, free_page = 6;
  static constexpr u64 info = ram, secinfo = ram + 0x40, source = ram + 0x1000, sigstruct = ram + 0x2000,
                       token = ram + 0x3000;

  void SetUp() override {
    make_secs(secs_page);
    make_child(child, secs_page);
    make_child(tcs_page, secs_page, PageType::tcs, 0);
    make_child(ssa_page, secs_page);
    make_child(data, secs_page);
    make_child(output, secs_page);
    arch::Tcs& tcs = this->tcs();
    tcs.ossa = ssa_page * arch::page_size;
    tcs.nssa = 2;
    cpu.cr4 = arch::cr4::osfxsr;
  }
  arch::Tcs& tcs() { return *reinterpret_cast<arch::Tcs*>(bytes(tcs_page)); }
  void being_built() { secs(secs_page).architectural.attributes.flags &= ~arch::attributes::init; }
  Held hold(u32 page, PageLock EpcmEntry::*which = &EpcmEntry::lock) {
    return Held(entry(page).*which, LockMode::exclusive);
  }
  void add_operands() {
    being_built();
    put(info, arch::Pageinfo{at(free_page), source, secinfo, at(secs_page)});
    put(secinfo, arch::Secinfo{flags_of(PageType::reg, 3), {}});
  }
  Seen add() { return call(eadd, info, at(free_page)); }
  Seen enter() {
    cpu.cpl = 3;
    const Seen seen = call(eenter, at(tcs_page), 0x1000);
    return seen;
  }
  /// As after one asynchronous exit.
  Seen resume() {
    cpu.cpl = 3;
    return call(eresume, at(tcs_page), 0x1000);
  }
  void be_exited() { tcs().cssa = 1; }
  void leave() {
    asynchronous_exit(cpu, package, nullptr, 0);
    cpu.code64 = true;  // the bench has no code segment to say so
  }
};

TEST_F(SgxRows, EcreateMeetsAHeldPage) {
  arch::Secs s = secs(secs_page).architectural;
  s.attributes.flags &= ~arch::attributes::init;
  s.reserved4 = {};
  put(info, arch::Pageinfo{0, source, secinfo, 0});
  put(secinfo, arch::Secinfo{});
  put(source, s);
  {
    const Held held = hold(free_page);
    EXPECT_TRUE(call(ecreate, info, at(free_page)).gp());
  }
  EXPECT_TRUE(call(ecreate, info, at(free_page)).ok());
}

TEST_F(SgxRows, EaddMeetsAHeldPage) {
  add_operands();
  {
    const Held held = hold(free_page);
    EXPECT_TRUE(add().gp());
  }
  EXPECT_TRUE(add().ok());
}

TEST_F(SgxRows, EaddMeetsAHeldSecs) {
  add_operands();
  {
    const Held held = hold(secs_page);
    EXPECT_TRUE(add().gp());
  }
  EXPECT_TRUE(add().ok());
}

TEST_F(SgxRows, EaddMeetsAMeasurement) {
  add_operands();
  {
    const Held held = hold(secs_page, &EpcmEntry::build_lock);
    EXPECT_TRUE(add().gp());
  }
  EXPECT_TRUE(add().ok());
}

TEST_F(SgxRows, EextendMeetsAHeldPage) {
  being_built();
  {
    const Held held = hold(child);
    EXPECT_TRUE(call(eextend, at(secs_page), at(child)).gp());
  }
  EXPECT_TRUE(call(eextend, at(secs_page), at(child)).ok());
}

TEST_F(SgxRows, EextendMeetsAMeasurement) {
  being_built();
  {
    const Held held = hold(secs_page, &EpcmEntry::build_lock);
    EXPECT_TRUE(call(eextend, at(secs_page), at(child)).gp());
  }
  EXPECT_TRUE(call(eextend, at(secs_page), at(child)).ok());
}

TEST_F(SgxRows, EinitMeetsAHeldSecs) {
  being_built();
  arch::Sigstruct s = SgxSigner::unsigned_for({});
  SgxSigner::instance().sign(s);
  put(sigstruct, s);
  put(token, arch::Einittoken{});
  {
    const Held held = hold(secs_page);
    EXPECT_TRUE(call(einit, sigstruct, at(secs_page), token).gp());
  }
  EXPECT_TRUE(call(einit, sigstruct, at(secs_page), token).zf(SgxError::invalid_measurement));
}

TEST_F(SgxRows, EinitMeetsAMeasurement) {
  being_built();
  arch::Sigstruct s = SgxSigner::unsigned_for({});
  SgxSigner::instance().sign(s);
  put(sigstruct, s);
  put(token, arch::Einittoken{});
  const Held held = hold(secs_page, &EpcmEntry::build_lock);
  EXPECT_TRUE(call(einit, sigstruct, at(secs_page), token).gp());
}

TEST_F(SgxRows, EremoveMeetsAHeldPage) {
  {
    const Held held = hold(child);
    EXPECT_TRUE(call(eremove, 0, at(child)).gp());
  }
  EXPECT_TRUE(call(eremove, 0, at(child)).ok());
}

TEST_F(SgxRows, DebuggersMeetAHeldPage) {
  const Held held = hold(child);
  EXPECT_TRUE(call(edbgrd, 0, at(child)).gp());
  EXPECT_TRUE(call(edbgwr, 0, at(child)).gp());
}

// Only a shadow stack, which needs CET, could have permissions without being PT_REG.
TEST_F(SgxRows, OperandsAreRegularPages) {
  put(info, 0);
  cpu.cpl = 3;
  go_inside(secs_page);
  const auto refused = [&](u32 page, Leaf leaf, u64 rbx, u64 rcx, u64 rdx) {
    entry(page).type = PageType::tcs;
    const Seen seen = call(leaf, rbx, rcx, rdx);
    entry(page).type = PageType::reg;
    return seen.pf(at(page));
  };
  EXPECT_TRUE(refused(data, ereport, at(data), at(child), at(output)));
  EXPECT_TRUE(refused(child, ereport, at(data), at(child), at(output)));
  EXPECT_TRUE(refused(output, ereport, at(data), at(child), at(output)));
  EXPECT_TRUE(refused(data, egetkey, at(data), at(output), 0));
  EXPECT_TRUE(refused(output, egetkey, at(data), at(output), 0));
  EXPECT_TRUE(refused(data, eaccept, at(data), at(child), 0));
  EXPECT_TRUE(refused(data, emodpe, at(data), at(child), 0));
  EXPECT_TRUE(refused(data, eacceptcopy, at(data), at(child), at(output)));
  const arch::Secinfo copy{flags_of(PageType::reg, 1), {}};
  std::memcpy(bytes(data), &copy, sizeof copy);
  entry(child).pending = true;
  EXPECT_TRUE(refused(output, eacceptcopy, at(data), at(child), at(output)));
}

TEST_F(SgxRows, AcceptedTcsHasWholePageLimits) {
  secs(secs_page).architectural.attributes.flags &= ~arch::attributes::mode64bit;
  entry(tcs_page).modified = true;
  entry(tcs_page).epoch = entry(secs_page).epoch;
  entry(secs_page).epoch += 2;
  const arch::Secinfo wanted{flags_of(PageType::tcs, f::modified), {}};
  std::memcpy(bytes(data), &wanted, sizeof wanted);
  go_inside(secs_page);
  const auto accept_with = [&](u32 fs, u32 gs) {
    tcs().fslimit = fs;
    tcs().gslimit = gs;
    return call(eaccept, at(data), at(tcs_page));
  };
  EXPECT_TRUE(accept_with(0x1000, 0xfff).gp());
  EXPECT_TRUE(accept_with(0xfff, 0x1000).gp());
  EXPECT_TRUE(accept_with(0xfff, 0xfff).ok());
}

TEST_F(SgxRows, ExtendedPageIsSettled) {
  go_inside(secs_page);
  entry(child).modified = true;
  EXPECT_TRUE(call(emodpe, at(data), at(child)).pf(at(child)));
}

TEST_F(SgxRows, CopiedPageIsAsEaugMadeIt) {
  const arch::Secinfo wanted{flags_of(PageType::reg, 1), {}};
  std::memcpy(bytes(data), &wanted, sizeof wanted);
  entry(child).pending = true;
  go_inside(secs_page);
  const auto copy = [&] { return call(eacceptcopy, at(data), at(child), at(output)); };
  entry(child).modified = true;
  EXPECT_TRUE(copy().zf(SgxError::page_attributes_mismatch));
  entry(child).modified = false;
  entry(child).type = PageType::tcs;
  EXPECT_TRUE(copy().zf(SgxError::page_attributes_mismatch));
  entry(child).type = PageType::reg;
  entry(child).execute = true;
  EXPECT_TRUE(copy().zf(SgxError::page_attributes_mismatch));
  entry(child).execute = false;
  EXPECT_TRUE(copy().ok());
}

TEST_F(SgxRows, FramesAreRegularPages) {
  secs(secs_page).architectural.ssa_frame_size = 2;  // XSAVE area in ssa_page, GPRSGX in `data`
  for (const u32 page : {ssa_page, data}) {
    entry(page).type = PageType::tcs;
    EXPECT_TRUE(enter().pf(at(page)));
    be_exited();
    EXPECT_TRUE(resume().pf(at(page)));
    tcs().cssa = 0;
    go_inside(secs_page);
    cpu.enclave.tcs = tcs_page;
    be_exited();
    EXPECT_TRUE(call(edeccssa, 0, 0).pf(at(page)));
    go_outside();
    tcs().cssa = 0;
    entry(page).type = PageType::reg;
  }
}

TEST_F(SgxRows, EntryMeetsAHeldTcs) {
  const Held held = hold(tcs_page);
  EXPECT_TRUE(enter().gp());
  be_exited();
  EXPECT_TRUE(resume().gp());
}

TEST_F(SgxRows, EdeccssaMeetsAHeldTcs) {
  go_inside(secs_page);
  cpu.enclave.tcs = tcs_page;
  be_exited();
  {
    const Held held = hold(tcs_page);
    EXPECT_TRUE(call(edeccssa, 0, 0).gp());
  }
  EXPECT_TRUE(call(edeccssa, 0, 0).ok());
}

TEST_F(SgxRows, EntryWithoutXsaveWantsLegacyState) {
  secs(secs_page).architectural.attributes.xfrm = 7;
  EXPECT_TRUE(enter().gp());
  be_exited();
  EXPECT_TRUE(resume().gp());
}

/// SDM vol. 3D, EENTER and ERESUME (XCR0), 37.3 (what an exit saves and leaves): the YMM registers of an enclave whose
/// XFRM has AVX.
TEST_F(SgxRows, AnExitKeepsTheYmmRegistersInTheFrame) {
  secs(secs_page).architectural.attributes.xfrm = 7;
  cpu.cr4 |= arch::cr4::osxsave;
  cpu.xcr0 = 3;
  EXPECT_TRUE(enter().gp()) << "XCR0 does not have AVX";
  cpu.xcr0 = 7;
  ASSERT_TRUE(enter().ok());
  for (unsigned n = 0; n < 16; ++n) cpu.fpu.upper[n].byte.fill(static_cast<u8>(0x20 + n));
  leave();
  EXPECT_EQ(bytes(ssa_page)[512], 7) << "XSTATE_BV";
  EXPECT_EQ(bytes(ssa_page)[576], 0x20);
  EXPECT_EQ(bytes(ssa_page)[576 + 255], 0x2f);
  for (const Xmm& upper : cpu.fpu.upper) EXPECT_EQ(upper.byte, Xmm{}.byte) << "outside nothing of them is seen";

  cpu.fpu.upper[5].byte.fill(0x99);
  ASSERT_TRUE(resume().ok());
  EXPECT_EQ(cpu.fpu.upper[5].byte[7], 0x25);
  leave();
  bytes(ssa_page)[512] = 3;
  cpu.fpu.upper[5].byte.fill(0x99);
  ASSERT_TRUE(resume().ok());
  EXPECT_EQ(cpu.fpu.upper[5].byte[7], 0) << "without its bit the component is initial";
}

/// Without AVX in XFRM an enclave has no YMM registers, and an exit leaves what was outside.
TEST_F(SgxRows, AnExitLeavesYmmRegistersThatTheEnclaveDoesNotHave) {
  cpu.cr4 |= arch::cr4::osxsave;
  cpu.xcr0 = 7;
  cpu.fpu.upper[5].byte.fill(0x99);
  ASSERT_TRUE(enter().ok());
  EXPECT_EQ(cpu.xcr0, 3u);
  EXPECT_TRUE(cpu.fpu.avx_blocked);
  leave();
  EXPECT_EQ(cpu.xcr0, 7u);
  EXPECT_FALSE(cpu.fpu.avx_blocked);
  EXPECT_EQ(bytes(ssa_page)[512], 3);
  EXPECT_EQ(cpu.fpu.upper[5].byte[7], 0x99);
}

TEST_F(SgxRows, ResumingAnActiveTcs) {
  be_exited();
  tcs().state = 1;
  // The frame's registers: XSTATE_BV says SSE.
  bytes(ssa_page)[512] = 2;
  std::memset(bytes(ssa_page) + 160, 0x5a, 16);
  cpu.fpu.xmm[0] = {};
  EXPECT_TRUE(resume().gp());
  EXPECT_EQ(cpu.fpu.xmm[0].byte[0], 0) << "nothing is loaded before the last check";
  tcs().state = 0;
  EXPECT_TRUE(resume().ok());
  EXPECT_EQ(cpu.fpu.xmm[0].byte[0], 0x5a);
}

TEST_F(SgxRows, ResumingChecksTheTcs) {
  be_exited();
  const arch::Tcs good = tcs();
  const auto refused = [&](auto change) {
    change();
    const bool gp = resume().gp();
    tcs() = good;
    return gp;
  };
  EXPECT_TRUE(refused([&] { tcs().ossa += 8; }));
  EXPECT_TRUE(refused([&] { tcs().ofsbase += 8; }));
  EXPECT_TRUE(refused([&] { tcs().ogsbase += 8; }));
  being_built();
  EXPECT_TRUE(resume().gp());

  secs(secs_page).architectural.attributes.flags = arch::attributes::init;
  cpu.code64 = false;
  for (Segment& segment : cpu.seg) segment = {.selector = 0, .base = 0, .limit = ~0u, .attributes = 0xc0f3};
  EXPECT_TRUE(refused([&] { tcs().fslimit = ~0u; }));
  EXPECT_TRUE(refused([&] { tcs().gslimit = ~0u; }));
  EXPECT_TRUE(resume().ok());
}

TEST_F(SgxRows, LeavingBeyondTheLimit) {
  go_inside(secs_page);
  cpu.enclave.tcs = tcs_page;
  cpu.code64 = false;
  cpu.seg[arch::seg_cs].limit = 0x1000;
  EXPECT_TRUE(call(eexit, 0x2000, 0).gp());
}

TEST_F(SgxRows, EnclvChecks) {
  make_va(8);
  make_secs(9);
  const auto both = [&](u64 rbx, u64 rcx, auto holds) {
    for (const Leaf leaf : {Leaf{eincvirtchild}, Leaf{edecvirtchild}}) {
      secs(secs_page).live().virtchildcnt = 5;
      EXPECT_TRUE(holds(call(leaf, rbx, rcx)));
    }
  };
  const auto gp = [](const Seen& s) { return s.gp(); };
  both(at(child) + 8, at(secs_page), gp);
  both(at(child), at(secs_page) + 8, gp);
  // The frame numbers of these two end as those of the pages do.
  const u64 like_child = ram + arch::page_size, like_secs = ram;
  both(like_child, at(secs_page), [&](const Seen& s) { return s.pf(like_child); });
  both(at(child), like_secs, [&](const Seen& s) { return s.pf(like_secs); });
  entry(child).valid = false;
  both(at(child), at(secs_page), [&](const Seen& s) { return s.pf(at(child)); });
  entry(child).valid = true;
  both(at(8), at(secs_page), [&](const Seen& s) { return s.pf(at(8)); });
  both(at(child), at(9), gp);
  both(at(child), at(secs_page), [](const Seen& s) { return s.ok(); });
  secs(secs_page).live().virtchildcnt = 0;
  EXPECT_TRUE(call(edecvirtchild, at(child), at(secs_page)).zf(SgxError::invalid_counter));

  put(info, u64{0x1234});
  const auto set = [&](u64 rcx, u64 rdx) { return call(esetcontext, 0, rcx, rdx); };
  EXPECT_TRUE(set(at(secs_page) + 8, info).gp());
  EXPECT_TRUE(set(like_secs, info).pf(like_secs));
  EXPECT_TRUE(set(at(secs_page), info + 4).gp());
  EXPECT_TRUE(set(at(child), info).pf(at(child)));
  entry(9).valid = false;
  EXPECT_TRUE(set(at(9), info).pf(at(9)));
  EXPECT_TRUE(set(at(secs_page), info).ok());
  EXPECT_EQ(secs(secs_page).live().enclavecontext, 0x1234u);
}

/// The instructions themselves, in flat 32-bit code with 4 MiB pages, one to one; exceptions and HLT exit.
class SgxFront : public SgxRows {
 protected:
  using SgxRows::SgxRows;
  static constexpr u64 code = ram + 0x4000, directory = ram + 0x5000;
  static constexpr u32 flat_code = 0xc09b, flat_data = 0xc093, dpl3 = 0x60;
  SystemRegs system;
  Controls controls;
  GeneralRegs general;

  void SetUp() override {
    SgxRows::SetUp();
    constexpr u32 present_writable_user_large = 0x87;
    put(directory, u32{present_writable_user_large});
    put(directory + (epc >> 22) * 4, static_cast<u32>(epc) | present_writable_user_large);
    system.seg.fill({.selector = 8, .base = 0, .limit = ~0u, .attributes = flat_data});
    system.seg[arch::seg_cs].attributes = flat_code;
    system.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::ne;
    system.cr3 = directory;
    system.cr4 = arch::cr4::pse | arch::cr4::osfxsr;
    controls.exception_bitmap = ~0u;
    controls.enclv_exiting = true;
    general.rip = code;
    general.rflags = 2;
  }
  void be_real() {
    system.cr0 = arch::cr0::ne;
    system.seg.fill({.selector = 0, .base = 0, .limit = ~0u, .attributes = 0x93});
    system.seg[arch::seg_cs].attributes = flat_code;  // as software leaves it that only clears CR0.PE
  }
  void be_user() {
    for (Segment& segment : system.seg) segment.attributes |= dpl3;
  }
  void without_paging() { system.cr0 &= ~arch::cr0::pg; }

  static constexpr u8 encls = 0xcf, enclu = 0xd7, enclv = 0xc0;
  /// The vector of the exception that it raises; -1: it is done.
  int run(u8 instruction, u32 leaf, u64 rbx, u64 rcx) {
    put(code, std::array<u8, 4>{0x0f, 0x01, instruction, 0xf4});
    general.gpr[arch::rax] = leaf;
    general.gpr[arch::rbx] = rbx;
    general.gpr[arch::rcx] = rcx;
    vcpu_.set_system(system);
    vcpu_.set_general(general);
    vcpu_.set_controls(controls);
    exit = vcpu_.run(10);
    return exit.reason == ExitReason::exception_or_nmi ? exit.interruption.vector : -1;
  }
  int run_encls() { return run(encls, static_cast<u32>(arch::EnclsLeaf::eblock), 0, at(child)); }
  /// On a page that is no TCS: #PF, if the leaf gets so far.
  int run_enclu() { return run(enclu, static_cast<u32>(arch::EncluLeaf::eenter), at(child), 0); }
  int run_enclv(u32 leaf = 1) { return run(enclv, leaf, at(child), at(secs_page)); }
  Exit exit;
};

namespace v = arch::vector;

TEST_F(SgxFront, RealModeHasNoLeaves) {
  EXPECT_EQ(run_encls(), -1);
  EXPECT_EQ(exit.reason, ExitReason::hlt);
  be_real();
  EXPECT_EQ(run_encls(), v::ud);
}

TEST_F(SgxFront, Virtual8086HasNoLeaves) {
  be_user();
  EXPECT_EQ(run_enclu(), v::pf);
  be_real();
  be_user();
  system.cr0 |= arch::cr0::pe;
  general.rflags |= arch::rflags::vm;
  EXPECT_EQ(run_enclu(), v::ud);
  EXPECT_EQ(run_encls(), v::ud);
  EXPECT_EQ(run_enclv(), v::ud);
}

TEST_F(SgxFront, LeavesNeedPaging) {
  without_paging();
  EXPECT_EQ(run_encls(), v::gp);
  be_user();
  EXPECT_EQ(run_enclu(), v::gp);
}

TEST_F(SgxFront, EnclsExits) {
  controls.encls_exiting = true;
  controls.encls_bitmap = 1 << static_cast<u32>(arch::EnclsLeaf::eblock);
  run_encls();
  EXPECT_EQ(exit.reason, ExitReason::encls);
  controls.encls_bitmap = ~controls.encls_bitmap;
  EXPECT_EQ(run_encls(), -1);
  EXPECT_EQ(exit.reason, ExitReason::hlt);
}

/// SGX1 alone.
class SgxFrontWithoutFlags : public SgxFront {
 protected:
  SgxFrontWithoutFlags() : SgxFront(features()) {}
  static Features features() {
    Features f;
    for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) f.sgx.*row.flag = false;
    return f;
  }
};

/// The leaves of `encls` among those that flags bring: those that raise #GP.
template <class Run>
u64 refused(const Run& run) {
  u64 leaves = 0;
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    for (u32 leaf = 0; leaf < 64; ++leaf) {
      if ((row.encls >> leaf & 1) != 0 && run(leaf) == v::gp) leaves |= u64{1} << leaf;
    }
  }
  return leaves;
}
TEST_F(SgxFront, AFlagBringsItsLeaves) {
  EXPECT_EQ(refused([&](u32 leaf) { return run(encls, leaf, 0, at(child)); }), 0u);
}
TEST_F(SgxFrontWithoutFlags, LeavesNeedTheirs) {
  EXPECT_EQ(refused([&](u32 leaf) { return run(encls, leaf, 0, at(child)); }), 0x10fe000u);
  EXPECT_EQ(run_encls(), -1) << "SGX1";
}

// Every leaf has its package beside others, and none where one has it alone.
TEST_F(SgxFront, LeavesShareTheirPackage) {
  PageLock& leaves = package_.impl().leaves();
  {
    const Held beside(leaves, LockMode::shared);
    EXPECT_EQ(run_encls(), -1);
  }
  {
    const Held alone(leaves, LockMode::exclusive);
    EXPECT_EQ(run_encls(), v::gp);
    EXPECT_EQ(run_enclu(), v::ud) << "CPL is 0: ENCLU has nothing to do with it";
  }
  EXPECT_EQ(run_encls(), -1);
  EXPECT_TRUE(Held(leaves, LockMode::exclusive)) << "given back";
}

// While its root moves (docs/vendor-leaves.md), a package has no leaf for a guest, in any ring.
TEST_F(SgxFront, ALatchedPackageHasNoLeaves) {
  for (const Latch latch : {Latch::importing, Latch::closed}) {
    package_.impl().set_latch(latch);
    EXPECT_EQ(run_encls(), v::gp);
    EXPECT_EQ(run(encls, static_cast<u32>(arch::EnclsLeaf::eremove), 0, at(data)), v::gp);
    EXPECT_EQ(run_enclv(), v::gp);
    be_user();
    EXPECT_EQ(run_enclu(), v::gp);
    system.seg.fill({.selector = 8, .base = 0, .limit = ~0u, .attributes = flat_data});
    system.seg[arch::seg_cs].attributes = flat_code;
  }
  package_.impl().set_latch(Latch::open);
  EXPECT_EQ(run_encls(), -1);
  be_user();
  EXPECT_EQ(run_enclu(), v::pf);
}

// RAX and the flags of a code: ZF alone, of all that a leaf may change.
TEST_F(SgxFront, EupdatesvnIsAlone) {
  constexpr u64 flags = 0x8d5, zf = arch::rflags::zf;
  general.rflags |= flags;
  const auto seen = [&] {
    EXPECT_EQ(run(encls, static_cast<u32>(arch::EnclsLeaf::eupdatesvn), 0, 0), -1);
    const GeneralRegs now = vcpu_.general();
    return std::pair(now.gpr[arch::rax], now.rflags & flags);
  };
  const auto refused_with = [&](SgxError e) { return std::pair(static_cast<u64>(e), zf); };
  {
    const Held beside(package_.impl().leaves(), LockMode::shared);
    EXPECT_EQ(seen(), refused_with(SgxError::epc_page_conflict));
  }
  EXPECT_EQ(seen(), refused_with(SgxError::epc_not_ready));
  EXPECT_TRUE(Held(package_.impl().leaves(), LockMode::exclusive)) << "given back";
}

// The bitmap has a bit for it, as for others (SDM vol. 3C, 25.6.16).
TEST_F(SgxFront, EupdatesvnExits) {
  controls.encls_exiting = true;
  controls.encls_bitmap = u64{1} << 0x18;
  run(encls, static_cast<u32>(arch::EnclsLeaf::eupdatesvn), 0, 0);
  EXPECT_EQ(exit.reason, ExitReason::encls);
  EXPECT_EQ(run_encls(), -1);
}

TEST_F(SgxFront, Enclv) {
  EXPECT_EQ(run_enclv(), -1);
  EXPECT_EQ(exit.reason, ExitReason::hlt);
  EXPECT_EQ(secs(secs_page).live().virtchildcnt, 1u);
  EXPECT_EQ(run_enclv(9), v::gp);
  const SystemRegs good = system;
  be_real();
  EXPECT_EQ(run_enclv(), v::ud);
  system = good;
  be_user();
  EXPECT_EQ(run_enclv(), v::ud);
  system = good;
  without_paging();
  EXPECT_EQ(run_enclv(), v::gp);
  system.efer = arch::efer::lme | arch::efer::lma;
  EXPECT_EQ(run_enclv(), v::ud);
  system = good;
  system.seg[arch::seg_ds] = {.selector = 8, .base = 0, .limit = 0, .attributes = 0xc097};
  EXPECT_EQ(run_enclv(), v::gp);
}

}  // namespace
}  // namespace cloister::silicon
