// An enclave that others made (report.sgxs: EREPORT for the target in its fourth page, then EEXIT) runs, and the target
// can verify the report with the key that EGETKEY gives it (SDM vol. 3D, 38.4).
#include <gtest/gtest.h>

#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "unit/silicon/sgx_machine.hpp"
#include "unit/silicon/sgx_shared.hpp"
#include "unit/silicon/sgx_signer.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
namespace a = arch::attributes;
namespace flag = arch::secinfo_flags;

class SgxReport : public testing::Test {
 protected:
  static constexpr u32 secs = 0, target_secs = 10, target_page = 11;
  // In RAM: page tables, the code that enters, and where the enclave copies its report to.
  static constexpr u64 pml4 = 0x20000, pdpt = 0x21000, pd = 0x22000, pt = 0x23000, code = 0x28000, output = 0x29000;
  /// What the caller adds to the stream: TARGETINFO, REPORTDATA and room for the report.
  static constexpr u64 target_offset = 0x3000, reportdata_at = 512;
  static constexpr u64 rw = SgxMachine::flags_of(PageType::reg, flag::r | flag::w);

  /// Builds what the stream says, with one more page; launches it.
  void load(const std::vector<SgxsRecord>& records, const EpcBytes& parameters) {
    arch::Secs s = SgxMachine::plain_secs();
    s.ssa_frame_size = records[0].field<u32>(8);
    s.size = records[0].field<u64>(12);
    ASSERT_EQ(m.ecreate_page(secs, s), 0);
    u32 index = secs;
    for (std::size_t i = 1; i < records.size();) {
      const SgxsRecord& add = records[i++];
      EpcBytes content{};
      std::vector<u64> measured;
      for (; i < records.size() && records[i].name != "EADD"; ++i) {
        const u64 at = arch::page_offset(records[i].field<u64>(8));
        std::ranges::copy(records[i].data, content.begin() + static_cast<std::ptrdiff_t>(at));
        if (records[i].name == "EEXTEND") measured.push_back(at);
      }
      add_page(++index, add.field<u64>(8), add.field<u64>(16), content);
      for (const u64 at : measured) {
        ASSERT_EQ(m.run(eextend, SgxMachine::page(secs), SgxMachine::page(index) + at), 0);
      }
    }
    add_page(++index, target_offset, rw, parameters);
    arch::Sigstruct sig = SgxSigner::unsigned_for(measurement_of(m.secs(secs)).finish());
    sig.attributes = s.attributes;
    sig.attributemask = {~u64{0}, ~u64{0}};
    sig.isvprodid = 1234;
    sig.isvsvn = 5;
    SgxSigner::instance().sign(sig);
    const arch::Bytes32 signer = mrsigner_of(sig);
    std::memcpy(m.cpu().lepubkeyhash.data(), signer.data(), signer.size());
    ASSERT_EQ(m.einit_secs(secs, sig), 0);
  }
  void add_page(u32 index, u64 offset, u64 flags, const EpcBytes& content) {
    ASSERT_EQ(m.eadd_page(index, secs, SgxMachine::base + offset, flags, content), 0);
    m.put(pt + (SgxMachine::base + offset) / arch::page_size * 8, SgxMachine::page(index) | open);
    if ((flags & flag::page_type) >> flag::page_type_shift == static_cast<u64>(PageType::tcs)) tcs_offset = offset;
  }

  /// An enclave that is told of nothing but by TARGETINFO.
  arch::Targetinfo make_target() {
    EXPECT_EQ(m.ecreate_page(target_secs, SgxMachine::plain_secs()), 0);
    EXPECT_EQ(m.eadd_page(target_page, target_secs, SgxMachine::page(target_page), rw, EpcBytes{}), 0);
    arch::Secs& s = m.secs(target_secs).architectural;
    s.attributes.flags |= a::init;  // as EINIT would
    s.mrenclave.fill(0x7a);
    arch::Targetinfo target{};
    target.measurement = s.mrenclave;
    target.attributes = s.attributes;
    target.miscselect = s.miscselect;
    return target;
  }
  /// EGETKEY in the target.
  arch::Bytes16 targets_key(const arch::Bytes32& keyid) {
    arch::Keyrequest request{};
    request.keyname = static_cast<u16>(arch::KeyName::report);
    request.keyid = keyid;
    std::memcpy(m.package().page(target_page), &request, sizeof request);
    m.enter(target_secs);
    constexpr u64 key_at = 0x200;
    EXPECT_EQ(m.run(egetkey, SgxMachine::page(target_page), SgxMachine::page(target_page) + key_at), 0);
    m.leave();
    arch::Bytes16 key;
    std::memcpy(&key, m.package().page(target_page) + key_at, sizeof key);
    return key;
  }

  /// ENCLU[EENTER] in a user program with paging on; the exit that ends it.
  Exit enter_enclave() {
    for (const auto& [table, next] : {std::pair{pml4, pdpt}, std::pair{pdpt, pd}, std::pair{pd, pt}}) {
      m.put(table, next | open);
    }
    for (u64 at = SgxMachine::ram; at < SgxMachine::ram + SgxMachine::ram_bytes; at += arch::page_size) {
      m.put(pt + at / arch::page_size * 8, at | open);
    }
    m.put(code, std::array<u8, 4>{0x0f, 0x01, 0xd7, 0xf4});  // ENCLU; HLT, which only the kernel may
    Controls controls;
    controls.exception_bitmap = ~0u;
    m.vcpu().set_controls(controls);
    SystemRegs s = m.vcpu().system();
    s.seg.fill({0x13, 0, 0xffff'ffff, 0xc0f3});
    s.seg[arch::seg_cs] = {0x0b, 0, 0xffff'ffff, 0xa0fb};
    s.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::ne | arch::cr0::et;
    s.cr3 = pml4;
    s.cr4 = arch::cr4::pae | arch::cr4::osfxsr;
    s.efer = arch::efer::lme | arch::efer::lma | arch::efer::nxe;
    m.vcpu().set_system(s);
    GeneralRegs g;
    g.gpr[arch::rax] = static_cast<u64>(arch::EncluLeaf::eenter);
    g.gpr[arch::rbx] = SgxMachine::base + tcs_offset;
    g.gpr[arch::rcx] = code;
    g.gpr[arch::rdi] = output;
    g.rip = code;
    m.vcpu().set_general(g);
    constexpr u64 budget = 2000;
    return m.vcpu().run(budget);
  }

  static constexpr u64 open = arch::pte::p | arch::pte::rw | arch::pte::us;
  SgxMachine m;
  u64 tcs_offset = 0;
};

TEST_F(SgxReport, EnclaveFromTheFieldReports) {
  const auto stream = read_shared("report.sgxs");
  CLOISTER_SKIP_WITHOUT(stream, "report.sgxs");
  const arch::Targetinfo target = make_target();
  EpcBytes parameters{};
  std::memcpy(parameters.data(), &target, sizeof target);
  for (u8 i = 0; i < 64; ++i) parameters[reportdata_at + i] = static_cast<u8>(i * 3 + 1);
  ASSERT_NO_FATAL_FAILURE(load(parse_sgxs(stream), parameters));
  const arch::Secs expected = m.secs(secs).architectural;

  const Exit exit = enter_enclave();
  ASSERT_EQ(exit.reason, ExitReason::exception_or_nmi);
  ASSERT_EQ(exit.interruption.vector, arch::vector::gp) << "the HLT after the enclave's return";
  ASSERT_EQ(m.vcpu().general().rip, code + 3);

  arch::Report report;
  ASSERT_TRUE(m.memory().read(arch::Gpa{output}, std::as_writable_bytes(std::span(&report, 1))));
  EXPECT_EQ(report.cpusvn, m.package().keys().cpusvn());
  EXPECT_EQ(report.attributes, expected.attributes);
  EXPECT_EQ(report.miscselect, expected.miscselect);
  EXPECT_EQ(report.mrenclave, expected.mrenclave);
  EXPECT_EQ(report.mrsigner, expected.mrsigner);
  EXPECT_EQ(report.isvprodid, 1234);
  EXPECT_EQ(report.isvsvn, 5);
  EXPECT_TRUE(std::equal(report.reportdata.begin(), report.reportdata.end(), parameters.begin() + reportdata_at));
  EXPECT_TRUE(all_zero(report.configid) && all_zero(report.isvfamilyid) && all_zero(report.isvextprodid));
  EXPECT_TRUE(all_zero(report.reserved1) && all_zero(report.reserved2) && all_zero(report.reserved3) &&
              all_zero(report.reserved4));

  // Back to calling leaves by their functions, without paging.
  SystemRegs s = m.vcpu().system();
  s.cr0 = arch::cr0::pe;
  m.vcpu().set_system(s);
  m.cpu().code64 = true;
  m.cpu().cpl = 0;
  const arch::Bytes16 key = targets_key(report.keyid);
  const std::span maced(reinterpret_cast<const u8*>(&report), arch::report_maced_bytes);
  EXPECT_EQ(report.mac, aes_cmac(key, maced));
  report.reportdata[0] ^= 1;
  EXPECT_NE(report.mac, aes_cmac(key, maced));
}

}  // namespace
}  // namespace cloister::silicon
