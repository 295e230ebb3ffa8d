// EGETKEY's derivation table and EREPORT (SDM vol. 3D, 38.4), from inside an initialised enclave.
#include <gtest/gtest.h>

#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "unit/silicon/sgx_machine.hpp"

namespace cloister::silicon {
namespace {

using arch::Bytes16;
using arch::KeyName;
using arch::Keyrequest;
using arch::PageType;
using arch::SgxError;
namespace a = arch::attributes;
namespace flag = arch::secinfo_flags;

constexpr i64 gp = -arch::vector::gp, pf = -arch::vector::pf;
constexpr i64 code(SgxError e) { return static_cast<i64>(e); }

/// An initialised enclave with one page of data.
class SgxIdentity : public testing::Test {
 protected:
  static constexpr u32 secs = 0, data = 1;
  // ELRANGE is laid over the EPC itself, as paging is off: the page's linear address is its guest-physical one.
  static constexpr u64 at = SgxMachine::page(data);
  static constexpr u64 request_at = at, output_at = at + 0x200, target_at = at + 0x400, reportdata_at = at + 0x600,
                       report_at = at + 0x800;

  explicit SgxIdentity(u64 extra_attributes = a::kss, Package::Config config = SgxMachine::plain_config())
      : m(std::move(config)) {
    arch::Secs s = SgxMachine::plain_secs();
    s.attributes.flags |= extra_attributes;
    if ((extra_attributes & a::kss) != 0) {
      s.configid.fill(0xc1);
      s.configsvn = 6;
    }
    EXPECT_EQ(m.ecreate_page(secs, s), 0);
    const u64 rw = SgxMachine::flags_of(PageType::reg, flag::r | flag::w);
    EXPECT_EQ(m.eadd_page(data, secs, at, rw, EpcBytes{}), 0);
    // As EINIT would.
    SecsPage& page = m.secs(secs);
    page.architectural.attributes.flags |= a::init;
    page.architectural.mrenclave.fill(0xe1);
    page.architectural.mrsigner.fill(0x51);
    page.architectural.isvprodid = 77;
    page.architectural.isvsvn = 5;
    SecsInternal internal = page.internal();
    internal.padding = signature_padding();
    internal.isvfamilyid.fill(0xfa);
    internal.isvextprodid.fill(0xed);
    page.set_internal(internal);
    m.enter(secs);
  }

  u8* in_enclave(u64 linear) { return m.package().page(data) + (linear - at); }
  template <class T>
  T& view(u64 linear) {
    return *reinterpret_cast<T*>(in_enclave(linear));
  }
  Bytes16 output() { return view<Bytes16>(output_at); }
  i64 get(const Keyrequest& r) {
    view<Keyrequest>(request_at) = r;
    view<Bytes16>(output_at) = {};
    return m.run(egetkey, request_at, output_at);
  }
  Bytes16 key(const Keyrequest& r) {
    EXPECT_EQ(get(r), 0);
    return output();
  }
  Keyrequest request(KeyName name, u16 policy = 0) {
    Keyrequest r{};
    r.keyname = static_cast<u16>(name);
    r.keypolicy = policy;
    r.isvsvn = 5;
    r.cpusvn = m.package().keys().cpusvn();
    r.attributemask = {a::debug, 3};
    r.keyid[0] = 1;
    return r;
  }
  SgxMachine m;
};

class SgxIdentityProvisioning : public SgxIdentity {
 protected:
  SgxIdentityProvisioning() : SgxIdentity(a::kss | a::provisionkey | a::einittokenkey) {}
};
class SgxIdentityPlain : public SgxIdentity {
 protected:
  SgxIdentityPlain() : SgxIdentity(0) {}
};

/// Firmware loaded older microcode than that which runs.
class SgxIdentityOlder : public SgxIdentity {
 protected:
  static Package::Config config() {
    Package::Config config = SgxMachine::plain_config();
    config.cpusvn = Bytes16{};
    return config;
  }
  SgxIdentityOlder() : SgxIdentity(a::kss, config()) {}
};

TEST_F(SgxIdentityProvisioning, DerivationTable) {
  // SDM vol. 3D, EGETKEY: which fields of the SECS and of the request each key depends on.
  struct Row {
    KeyName name;
    u16 policy;
    bool mrenclave, mrsigner, isvprodid, isvfamilyid, isvextprodid, configid;
    bool isvsvn, cpusvn, configsvn, keyid, mask, miscmask;
  };
  namespace p = arch::keypolicy;
  const Row rows[] = {
      //                                encl   sign   prod   fam    ext    conf   svn    cpu    csvn   keyid  mask misc
      {KeyName::einittoken, 0, /*    */ false, true, true, false, false, false, true, true, false, true, false, false},
      {KeyName::provision, 0, /*     */ false, true, true, false, false, false, true, true, false, false, true, true},
      {KeyName::provision_seal, 0, /**/ false, true, true, false, false, false, true, true, false, false, true, true},
      {KeyName::provision_seal, p::defined, false, true, false, true, true, true, true, true, true, false, true, true},
      {KeyName::report, 0, /*        */ true, false, false, false, false, true, false, false, false, true, false,
       false},
      {KeyName::seal, 0, /*          */ false, false, true, false, false, false, true, true, false, true, true, true},
      {KeyName::seal, p::mrenclave, true, false, true, false, false, false, true, true, false, true, true, true},
      {KeyName::seal, p::mrsigner, false, true, true, false, false, false, true, true, false, true, true, true},
      {KeyName::seal, p::noisvprodid, false, false, false, false, false, false, true, true, false, true, true, true},
      {KeyName::seal, p::configid, false, false, true, false, false, true, true, true, true, true, true, true},
      {KeyName::seal, p::isvfamilyid, false, false, true, true, false, false, true, true, false, true, true, true},
      {KeyName::seal, p::isvextprodid, false, false, true, false, true, false, true, true, false, true, true, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message() << "key " << static_cast<int>(row.name) << " policy " << row.policy);
    const Keyrequest r = request(row.name, row.policy);
    const Bytes16 reference = key(r);
    const SecsPage saved = m.secs(secs);
    const auto by_secs = [&](auto change) {
      SecsInternal internal = saved.internal();
      change(m.secs(secs).architectural, internal);
      m.secs(secs).set_internal(internal);
      const bool differs = key(r) != reference;
      m.secs(secs) = saved;
      return differs;
    };
    const auto by_request = [&](auto change) {
      Keyrequest other = r;
      change(other);
      return key(other) != reference;
    };
    using S = arch::Secs;
    using I = SecsInternal;
    EXPECT_EQ(by_secs([](S& s, I&) { s.mrenclave[0] ^= 1; }), row.mrenclave);
    EXPECT_EQ(by_secs([](S& s, I&) { s.mrsigner[0] ^= 1; }), row.mrsigner);
    EXPECT_EQ(by_secs([](S& s, I&) { s.isvprodid ^= 1; }), row.isvprodid);
    EXPECT_EQ(by_secs([](S&, I& i) { i.isvfamilyid[0] ^= 1; }), row.isvfamilyid);
    EXPECT_EQ(by_secs([](S&, I& i) { i.isvextprodid[0] ^= 1; }), row.isvextprodid);
    EXPECT_EQ(by_secs([](S& s, I&) { s.configid[0] ^= 1; }), row.configid);
    EXPECT_EQ(by_request([](Keyrequest& q) { --q.isvsvn; }), row.isvsvn);
    EXPECT_EQ(by_request([](Keyrequest& q) { --q.cpusvn[0]; }), row.cpusvn);
    EXPECT_EQ(by_request([](Keyrequest& q) { ++q.configsvn; }), row.configsvn);
    EXPECT_EQ(by_request([](Keyrequest& q) { ++q.keyid[0]; }), row.keyid);
    EXPECT_EQ(by_request([](Keyrequest& q) { q.attributemask.flags ^= u64{1} << 60; }), row.mask);
    EXPECT_EQ(by_request([](Keyrequest& q) { q.miscmask ^= 4; }), row.miscmask);
    // DEBUG is part of every key, whatever the request masks.
    Keyrequest unmasked = r;
    unmasked.attributemask = {};
    const Bytes16 debug_key = key(unmasked);
    m.secs(secs).architectural.attributes.flags ^= a::debug;
    EXPECT_NE(key(unmasked), debug_key);
    m.secs(secs) = saved;
  }
}

TEST_F(SgxIdentityOlder, CpusvnIsThatOfPowerOn) {
  Keyrequest r = request(KeyName::seal);
  EXPECT_EQ(r.cpusvn, Bytes16{});
  EXPECT_EQ(get(r), 0);
  r.cpusvn = PlatformKeys::microcode;
  EXPECT_EQ(get(r), code(SgxError::invalid_cpusvn));
}

TEST_F(SgxIdentity, AccessAndVersions) {
  EXPECT_EQ(get(request(KeyName::provision)), code(SgxError::invalid_attribute));
  EXPECT_EQ(get(request(KeyName::provision_seal)), code(SgxError::invalid_attribute));
  EXPECT_EQ(get(request(KeyName::einittoken)), code(SgxError::invalid_attribute));
  EXPECT_EQ(get(request(static_cast<KeyName>(5))), code(SgxError::invalid_keyname));
  Keyrequest r = request(KeyName::seal);
  ++r.cpusvn[3];
  EXPECT_EQ(get(r), code(SgxError::invalid_cpusvn));
  r = request(KeyName::seal);
  r.isvsvn = 6;
  EXPECT_EQ(get(r), code(SgxError::invalid_isvsvn));
  r = request(KeyName::seal);
  r.configsvn = 7;
  EXPECT_EQ(get(r), code(SgxError::invalid_isvsvn));
  EXPECT_EQ(output(), Bytes16{}) << "no key with an error";
  r = request(KeyName::report);
  r.isvsvn = 6;
  r.cpusvn.fill(0xff);
  EXPECT_EQ(get(r), 0) << "the report key has no versions to check";
}

TEST_F(SgxIdentity, RequestsForm) {
  Keyrequest r = request(KeyName::seal);
  r.reserved1 = 1;
  EXPECT_EQ(get(r), gp);
  r = request(KeyName::seal);
  r.reserved2[433] = 1;
  EXPECT_EQ(get(r), gp);
  r = request(KeyName::seal, 1 << 6);
  EXPECT_EQ(get(r), gp);
}

TEST_F(SgxIdentityPlain, KssPoliciesNeedKss) {
  namespace p = arch::keypolicy;
  for (const u16 policy : {p::noisvprodid, p::configid, p::isvfamilyid, p::isvextprodid}) {
    EXPECT_EQ(get(request(KeyName::seal, policy)), gp);
  }
  Keyrequest r = request(KeyName::seal);
  r.configsvn = 1;
  EXPECT_EQ(get(r), gp);
  EXPECT_EQ(get(request(KeyName::seal, p::mrenclave | p::mrsigner)), 0);
}

TEST_F(SgxIdentity, OperandsAreTheEnclavesOwn) {
  view<Keyrequest>(request_at) = request(KeyName::seal);
  EXPECT_EQ(m.run(egetkey, request_at + 16, output_at), gp);
  EXPECT_EQ(m.run(egetkey, request_at, output_at + 8), gp);
  EXPECT_EQ(m.run(egetkey, SgxMachine::source, output_at), gp) << "outside ELRANGE";
  EXPECT_EQ(m.run(egetkey, request_at, SgxMachine::source), gp);
  EXPECT_EQ(m.run(egetkey, request_at, SgxMachine::page(2)), pf) << "invalid page";
  EXPECT_EQ(m.fault.error, arch::pfec::p | arch::pfec::sgx | arch::pfec::us | arch::pfec::wr);
  EXPECT_EQ(m.run(egetkey, SgxMachine::page(secs), output_at), pf) << "not PT_REG";
  EpcmEntry& e = m.epcm(data);
  const auto faults = [&](auto change) {
    auto& bit = change(e);
    bit = !bit;
    const i64 result = m.run(egetkey, request_at, output_at);
    bit = !bit;
    return result;
  };
  using E = EpcmEntry;
  EXPECT_EQ(faults([](E& x) -> ValidBit& { return x.valid; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.blocked; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.pending; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.modified; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.read; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.write; }), pf);
  EXPECT_EQ(faults([](E& x) -> bool& { return x.permission_restricted; }), 0) << "PR stops no access";
  e.enclave_address += arch::page_size;
  EXPECT_EQ(m.run(egetkey, request_at, output_at), pf);
  e.enclave_address -= arch::page_size;
  e.secs = 5;
  EXPECT_EQ(m.run(egetkey, request_at, output_at), pf);
}

TEST_F(SgxIdentity, ReportIsForItsTarget) {
  // The target is the enclave itself: it can check the MAC with its own report key.
  const arch::Secs& s = m.secs(secs).architectural;
  arch::Targetinfo target{};
  target.measurement = s.mrenclave;
  target.attributes = s.attributes;
  target.miscselect = s.miscselect;
  target.configid = s.configid;
  target.configsvn = s.configsvn;
  view<arch::Targetinfo>(target_at) = target;
  view<arch::Bytes64>(reportdata_at).fill(0xda);
  ASSERT_EQ(m.run(ereport, target_at, reportdata_at, report_at), 0);
  const arch::Report r = view<arch::Report>(report_at);
  EXPECT_EQ(r.cpusvn, m.package().keys().cpusvn());
  EXPECT_EQ(r.attributes, s.attributes);
  EXPECT_EQ(r.miscselect, s.miscselect);
  EXPECT_EQ(r.mrenclave, s.mrenclave);
  EXPECT_EQ(r.mrsigner, s.mrsigner);
  EXPECT_EQ(r.configid, s.configid);
  EXPECT_EQ(r.configsvn, s.configsvn);
  EXPECT_EQ(r.isvprodid, 77);
  EXPECT_EQ(r.isvsvn, 5);
  EXPECT_EQ(r.isvfamilyid, m.secs(secs).internal().isvfamilyid);
  EXPECT_EQ(r.isvextprodid, m.secs(secs).internal().isvextprodid);
  EXPECT_EQ(r.reportdata[63], 0xda);
  EXPECT_TRUE(all_zero(r.reserved1) && all_zero(r.reserved2) && all_zero(r.reserved3) && all_zero(r.reserved4));

  Keyrequest q{};
  q.keyname = static_cast<u16>(KeyName::report);
  q.keyid = r.keyid;
  const std::span maced(reinterpret_cast<const u8*>(&r), 384);
  EXPECT_EQ(r.mac, aes_cmac(key(q), maced));

  target.measurement[0] ^= 1;
  view<arch::Targetinfo>(target_at) = target;
  ASSERT_EQ(m.run(ereport, target_at, reportdata_at, report_at), 0);
  EXPECT_NE(view<arch::Report>(report_at).mac, r.mac);
}

TEST_F(SgxIdentity, ReportsOperands) {
  view<arch::Targetinfo>(target_at) = {};
  EXPECT_EQ(m.run(ereport, target_at + 0x100, reportdata_at, report_at), gp);
  EXPECT_EQ(m.run(ereport, target_at, reportdata_at + 0x40, report_at), gp);
  EXPECT_EQ(m.run(ereport, target_at, reportdata_at, report_at + 0x100), gp);
  EXPECT_EQ(m.run(ereport, target_at, reportdata_at, SgxMachine::page(2)), pf);
  for (const std::size_t reserved : {49, 56, 63, 128, 511}) {
    in_enclave(target_at)[reserved] = 1;
    EXPECT_EQ(m.run(ereport, target_at, reportdata_at, report_at), gp) << reserved;
    in_enclave(target_at)[reserved] = 0;
  }
  EXPECT_EQ(m.run(ereport, target_at, reportdata_at, report_at), 0);
}

}  // namespace
}  // namespace cloister::silicon
