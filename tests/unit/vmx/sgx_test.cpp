// ENCLS and ENCLV in a guest: which exit, what those that do not come to, and what ECREATE in root mode leaves for the
// guest (SDM vol. 3C, 25.6.6 and 26.1.3; vol. 3D, 38.3 and 38.5).
#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using arch::SgxError;
namespace v = arch::vector;

constexpr Mfn first{0x8'0000};
constexpr u64 pages = 16;
constexpr u64 page(u64 index) { return epc_base + index * arch::page_size; }

class Sgx : public OneProcessor {
 protected:
  explicit Sgx(Package::Config config = {.epc = {{first, pages}}, .root_secret = {1}, .boot = 1})
      : OneProcessor(std::move(config)) {
    EXPECT_TRUE(guest_.memory().map_epc(Gpa{epc_base}, first, pages));
    guest_.put(pageinfo, arch::Pageinfo{0, source, secinfo, 0});
    guest_.put(secinfo, arch::Secinfo{});
    guest_.put(source, plain_secs());
    controls_.exception_bitmap = (1u << v::ud) | (1u << v::gp) | (1u << v::pf);
    vcpu_->set_controls(controls_);
  }

  static constexpr u64 pageinfo = data, secinfo = data + 0x40, rdinfo = data + 0x80, context = data + 0xc0,
                       source = 0x3000;

  void control(auto change) {
    change(controls_);
    vcpu_->set_controls(controls_);
  }
  Exit encls(u32 leaf, u64 rbx, u64 rcx) { return execute({0x0f, 0x01, 0xcf, 0xf4}, leaf, rbx, rcx, 0); }
  Exit encls(EnclsLeaf leaf, u64 rbx, u64 rcx) { return encls(static_cast<u32>(leaf), rbx, rcx); }
  Exit enclv(u32 leaf, u64 rbx, u64 rcx, u64 rdx = 0) { return execute({0x0f, 0x01, 0xc0, 0xf4}, leaf, rbx, rcx, rdx); }
  Exit enclv(EnclvLeaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) { return enclv(static_cast<u32>(leaf), rbx, rcx, rdx); }

  void expect_code(const Exit& exit, SgxError error) {
    expect_halt_at(exit, code + 3);
    EXPECT_EQ(reg(arch::rax), static_cast<u64>(error));
  }
  void expect_fault(const Exit& exit, u8 vector) {
    EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi) << vmx::name_of(exit.reason);
    EXPECT_EQ(exit.interruption.vector, vector);
    EXPECT_EQ(rip(), code);
  }
  void expect_exit(const Exit& exit, unsigned reason, u32 leaf) {
    EXPECT_EQ(static_cast<unsigned>(exit.reason), reason) << vmx::name_of(exit.reason);
    EXPECT_EQ(exit.instruction_length, 3u);
    EXPECT_FALSE(exit.enclave);
    EXPECT_EQ(rip(), code);
    EXPECT_EQ(reg(arch::rax), leaf);
  }

  Controls controls_;

 private:
  Exit execute(std::initializer_list<u8> bytes, u32 leaf, u64 rbx, u64 rcx, u64 rdx) {
    GeneralRegs regs;
    regs.gpr[arch::rax] = leaf;
    regs.gpr[arch::rbx] = rbx;
    regs.gpr[arch::rcx] = rcx;
    regs.gpr[arch::rdx] = rdx;
    return run(bytes, regs);
  }
};

constexpr u32 eremove = static_cast<u32>(EnclsLeaf::eremove);

TEST_P(Sgx, EnclsRunsWithoutAnExit) {
  expect_code(encls(EnclsLeaf::eremove, 0, page(1)), SgxError::success);
  expect_halt_at(encls(EnclsLeaf::ecreate, pageinfo, page(1)), code + 3);
  expect_fault(encls(EnclsLeaf::ecreate, pageinfo, page(1)), v::pf);
  expect_fault(encls(EnclsLeaf::eremove, 0, data), v::pf);
  expect_fault(encls(EnclsLeaf::eremove, 0, page(1) + 8), v::gp);
  EXPECT_EQ(package_->eremove(first + 1).rax, 0u);
  expect_halt_at(encls(EnclsLeaf::ecreate, pageinfo, page(1)), code + 3);
}

TEST_P(Sgx, EnclsExitsByItsBitmap) {
  control([](Controls& c) { c.encls_bitmap = ~u64{0}; });
  expect_code(encls(eremove, 0, page(0)), SgxError::success);
  control([](Controls& c) { c.encls_exiting = true; });
  for (const u32 leaf : {0u, eremove, 62u, 63u, 64u, ~0u}) expect_exit(encls(leaf, 0, page(0)), 60, leaf);
  control([](Controls& c) { c.encls_bitmap = ~(u64{1} << eremove); });
  expect_code(encls(eremove, 0, page(0)), SgxError::success);
  control([](Controls& c) { c.encls_bitmap = u64{1} << eremove; });
  expect_exit(encls(eremove, 0, page(0)), 60, eremove);
  expect_halt_at(encls(EnclsLeaf::ecreate, pageinfo, page(0)), code + 3);
  for (const u32 invalid : {62u, 63u, 64u, ~0u}) expect_fault(encls(invalid, 0, page(0)), v::gp);
  control([](Controls& c) { c.encls_bitmap = u64{1} << 63; });
  for (const u32 leaf : {63u, 64u, ~0u}) expect_exit(encls(leaf, 0, page(0)), 60, leaf);
  expect_fault(encls(62, 0, page(0)), v::gp);
}

TEST_P(Sgx, EnclsIsTheKernels) {
  control([](Controls& c) {
    c.encls_exiting = true;
    c.encls_bitmap = ~u64{0};
  });
  vcpu_->set_system(user_mode());
  expect_fault(encls(eremove, 0, page(0)), v::ud);
}

TEST_P(Sgx, TheObserverIsToldOfWhatDidNotExit) {
  struct Seen {
    u32 leaf;
    u64 rcx;
    std::optional<u8> fault;
    u64 rax;
    bool operator==(const Seen&) const = default;
  };
  std::vector<Seen> seen;
  vcpu_->set_encls_observer([&](u32 leaf, u64 rcx, EnclsResult r) { seen.push_back({leaf, rcx, r.fault, r.rax}); });
  encls(eremove, 0, page(2));
  encls(eremove, 0, page(2) + 1);
  control([](Controls& c) {
    c.encls_exiting = true;
    c.encls_bitmap = 1;
  });
  encls(EnclsLeaf::ecreate, pageinfo, page(2));
  EXPECT_EQ(seen, (std::vector<Seen>{{eremove, page(2), std::nullopt, 0}, {eremove, page(2) + 1, v::gp, 0}}));
  vcpu_->set_encls_observer({});
  encls(eremove, 0, page(2));
  EXPECT_EQ(seen.size(), 2u);
}

TEST_P(Sgx, DiagnosticsCountTheGuestsLeaves) {
  const auto observer = package_->observe();
  ASSERT_TRUE(observer);
  encls(eremove, 0, page(2));
  encls(eremove, 0, page(3));
  package_->eremove(first);
  control([](Controls& c) {
    c.encls_exiting = true;
    c.encls_bitmap = u64{1} << eremove;
  });
  encls(eremove, 0, page(3));
  EXPECT_EQ((*observer)->events().encls[eremove], 2u);
  EXPECT_EQ((*observer)->events().asynchronous_exits, 0u);
}

TEST_P(Sgx, FaultyFramesAreTheGuestsToo) {
  Package::Config config{.epc = {{first, pages}}, .root_secret = {1}, .boot = 1};
  config.faulty_frames = {first + 4};
  auto package = backend().make_package(config);
  Guest guest(*package);
  ASSERT_TRUE(guest.memory().map_epc(Gpa{epc_base}, first, pages));
  const auto vcpu = guest.processor();
  guest.put_bytes(code, std::initializer_list<u8>{0x0f, 0x01, 0xcf, 0xf4});
  GeneralRegs regs = vcpu->general();
  regs.gpr[arch::rax] = eremove;
  regs.gpr[arch::rcx] = page(4);
  vcpu->set_general(regs);
  EXPECT_EQ(vcpu->run(plenty).reason, ExitReason::hlt);
  EXPECT_EQ(vcpu->general().gpr[arch::rax], static_cast<u64>(SgxError::enclave_act));
}

/// IA32_FEATURE_CONTROL and IA32_SGXLEPUBKEYHASHn (SDM vol. 4, table 2-2).
TEST_P(Sgx, FirmwareLeftItOn) {
  namespace fc = arch::msr::feature_control_bits;
  EXPECT_EQ(vcpu_->read_msr(arch::msr::feature_control), fc::lock | fc::sgx_enable | fc::sgx_launch_control);
  EXPECT_EQ(vcpu_->read_msr(arch::msr::sgxlepubkeyhash3), arch::msr::intel_lepubkeyhash[3]);
  EXPECT_TRUE(vcpu_->write_msr(arch::msr::sgxlepubkeyhash3, 5));
  EXPECT_EQ(vcpu_->read_msr(arch::msr::sgxlepubkeyhash3), 5u);
  const auto locked =
      backend().make_package({.epc = {{first, pages}}, .launch_control_writable = false, .launch_hash = {1, 2, 3, 4}});
  Guest guest(*locked);
  const auto vcpu = guest.processor();
  EXPECT_EQ(vcpu->read_msr(arch::msr::sgxlepubkeyhash0), 1u);
  EXPECT_FALSE(vcpu->write_msr(arch::msr::sgxlepubkeyhash0, 5));
  EXPECT_EQ(vcpu->read_msr(arch::msr::feature_control), fc::lock | fc::sgx_enable);
}

CLOISTER_EACH_IMPLEMENTATION(Sgx);

class WithoutEpc : public OneProcessor {};

TEST_P(WithoutEpc, EnclsIsUndefined) {
  intercept({v::ud});
  const Exit exit = run({0x0f, 0x01, 0xcf, 0xf4});
  EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(exit.interruption.vector, v::ud);
  EXPECT_EQ(vcpu_->read_msr(arch::msr::sgxlepubkeyhash0), std::nullopt);
}

CLOISTER_EACH_IMPLEMENTATION(WithoutEpc);

// ---- EPC virtualization extensions

class EpcVirtualization : public Sgx {
 protected:
  void SetUp() override { CLOISTER_NEEDS(*package_, epc_virtualization); }
};

TEST_P(EpcVirtualization, EnclvIsEnabledByItsControl) {
  expect_fault(enclv(EnclvLeaf::esetcontext, 0, page(0), context), v::ud);
  control([](Controls& c) { c.enclv_exiting = true; });
  expect_fault(enclv(3, 0, page(0)), v::gp);
  control([](Controls& c) { c.enclv_bitmap = 0b101; });
  expect_exit(enclv(0, page(0), page(0)), 70, 0);
  expect_exit(enclv(2, 0, page(0)), 70, 2);
  expect_fault(enclv(1, page(0), page(0)), v::pf);
  control([](Controls& c) { c.enclv_bitmap = u64{1} << 63; });
  expect_exit(enclv(~0u, 0, page(0)), 70, ~0u);
  vcpu_->set_system(user_mode());
  expect_fault(enclv(~0u, 0, page(0)), v::ud);
}

/// A virtual child keeps its SECS, if the control is on.
TEST_P(EpcVirtualization, VirtualChildrenAreChildren) {
  control([](Controls& c) {
    c.enclv_exiting = true;
    c.epc_virtualization = true;
  });
  expect_halt_at(encls(EnclsLeaf::ecreate, pageinfo, page(0)), code + 3);
  expect_code(enclv(EnclvLeaf::edecvirtchild, page(0), page(0)), SgxError::invalid_counter);
  expect_code(enclv(EnclvLeaf::eincvirtchild, page(0), page(0)), SgxError::success);
  expect_code(encls(eremove, 0, page(0)), SgxError::child_present);
  expect_code(enclv(EnclvLeaf::edecvirtchild, page(0), page(0)), SgxError::success);
  expect_code(enclv(EnclvLeaf::eincvirtchild, page(0), page(0)), SgxError::success);
  control([](Controls& c) { c.epc_virtualization = false; });
  expect_code(encls(eremove, 0, page(0)), SgxError::success);
}

/// What ERDINFO tells of a child: the SECS's address for the guest's own ECREATE, and what root mode chose for its own.
TEST_P(EpcVirtualization, ASecsHasItsContext) {
  constexpr u64 chosen = 0x1234'5000;
  alignas(64) const arch::Secinfo info{};
  alignas(4096) const arch::Secs secs = plain_secs();
  ASSERT_EQ(package_->ecreate(first + 5, info, secs, Gpa{chosen}).fault, std::nullopt);
  expect_halt_at(encls(EnclsLeaf::ecreate, pageinfo, page(6)), code + 3);
  const auto add_child = [&](u64 child, u64 of) {
    guest_.put(secinfo, arch::Secinfo{arch::secinfo_flags::r | (static_cast<u64>(arch::PageType::reg) << 8), {}});
    guest_.put(pageinfo, arch::Pageinfo{secs.base, source, secinfo, of});
    expect_halt_at(encls(EnclsLeaf::eadd, pageinfo, child), code + 3);
  };
  add_child(page(7), page(5));
  add_child(page(8), page(6));
  const auto context_of_parent = [&](u64 child) {
    expect_code(encls(EnclsLeaf::erdinfo, rdinfo, child), SgxError::success);
    return guest_.get<arch::Rdinfo>(rdinfo).enclavecontext;
  };
  EXPECT_EQ(context_of_parent(page(7)), chosen);
  EXPECT_EQ(context_of_parent(page(8)), page(6));
  control([](Controls& c) { c.enclv_exiting = true; });
  guest_.put<u64>(context, 0x77);
  expect_code(enclv(EnclvLeaf::esetcontext, 0, page(5), context), SgxError::success);
  EXPECT_EQ(context_of_parent(page(7)), 0x77u);
}

CLOISTER_EACH_IMPLEMENTATION(EpcVirtualization);

}  // namespace
}  // namespace cloister::vmx
