// Building and initialising an enclave with the leaves themselves (SDM vol. 3D, 38.3: ECREATE, EADD, EEXTEND, EINIT,
// EDBGRD, EDBGWR, EREMOVE): what success changes, and the checks that need no page tables.
#include <gtest/gtest.h>

#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "unit/silicon/sgx_machine.hpp"
#include "unit/silicon/sgx_shared.hpp"
#include "unit/silicon/sgx_signer.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;
namespace flag = arch::secinfo_flags;

constexpr i64 gp = -arch::vector::gp, pf = -arch::vector::pf;
constexpr i64 code(SgxError e) { return static_cast<i64>(e); }
constexpr u64 reg_rw = SgxMachine::flags_of(PageType::reg, flag::r | flag::w);
constexpr u64 tcs_page = SgxMachine::flags_of(PageType::tcs, 0);

class SgxBuild : public testing::Test {
 protected:
  static constexpr u32 secs = 0, first = 1, second = 2;
  SgxMachine m;

  void create(const arch::Secs& s = SgxMachine::plain_secs()) { ASSERT_EQ(m.ecreate_page(secs, s), 0); }
  /// As the signer of the tests signs what the SECS has measured.
  arch::Sigstruct signature() {
    arch::Sigstruct s = SgxSigner::unsigned_for(measurement_of(m.secs(secs)).finish());
    s.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
    s.attributemask = {~u64{arch::attributes::init}, ~u64{0}};
    s.isvprodid = 77;
    s.isvsvn = 5;
    SgxSigner::instance().sign(s);
    return s;
  }
  void trust(const arch::Sigstruct& s) {
    const arch::Bytes32 signer = mrsigner_of(s);
    std::memcpy(m.cpu().lepubkeyhash.data(), signer.data(), signer.size());
  }
};

TEST_F(SgxBuild, EcreateMakesASecs) {
  arch::Secs s = SgxMachine::plain_secs();
  s.mrenclave.fill(0xee);
  s.isvprodid = s.isvsvn = 9;
  create(s);
  const EpcmEntry& e = m.epcm(secs);
  EXPECT_TRUE(e.valid);
  EXPECT_EQ(e.type, PageType::secs);
  EXPECT_EQ(e.children, 0u);
  EXPECT_FALSE(e.read || e.write || e.execute || e.blocked || e.pending || e.modified);
  EXPECT_EQ(m.secs(secs).architectural.isvprodid, 0);
  EXPECT_EQ(m.secs(secs).architectural.isvsvn, 0);
  EXPECT_FALSE(m.secs(secs).initialised());
  Measurement expected = Measurement::start();
  expected.ecreate(1, SgxMachine::size);
  EXPECT_EQ(m.secs(secs).architectural.mrenclave, expected.chain);
  EXPECT_EQ(m.secs(secs).internal().hash_blocks, 1u);
  EXPECT_EQ(m.secs(secs).internal().enclavecontext, SgxMachine::page(secs));
  ASSERT_EQ(m.ecreate_page(first, s), 0);
  EXPECT_NE(m.secs(secs).internal().eid, m.secs(first).internal().eid);
}

TEST_F(SgxBuild, EcreateRefusesWhatTheManualLists) {
  using S = arch::Secs;
  const auto refused = [&](auto change) {
    S s = SgxMachine::plain_secs();
    change(s);
    return m.ecreate_page(secs, s) == gp && !m.epcm(secs).valid;
  };
  namespace a = arch::attributes;
  EXPECT_TRUE(refused([](S& s) { s.attributes.xfrm = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.xfrm = 0x203; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.xfrm |= u64{1} << 63; }));
  EXPECT_TRUE(refused([](S& s) { s.cet_attributes = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.cet_leg_bitmap_offset = 4096; }));
  EXPECT_TRUE(refused([](S& s) { s.miscselect = 2; }));
  EXPECT_TRUE(refused([](S& s) { s.ssa_frame_size = 0; }));
  EXPECT_TRUE(refused([](S& s) { s.base = u64{1} << 47; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.flags &= ~a::mode64bit, s.base = u64{1} << 32; }));
  EXPECT_TRUE(refused([](S& s) { s.base = 0, s.size = u64{1} << 47; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.flags &= ~a::mode64bit, s.base = 0, s.size = u64{1} << 31; }));
  EXPECT_TRUE(refused([](S& s) { s.size = 4096; }));
  EXPECT_TRUE(refused([](S& s) { s.size = 0x3000; }));
  EXPECT_TRUE(refused([](S& s) { s.size = 0; }));
  EXPECT_TRUE(refused([](S& s) { s.base += SgxMachine::size / 2; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.flags |= a::init; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.flags |= a::cet; }));
  EXPECT_TRUE(refused([](S& s) { s.attributes.flags |= u64{1} << 63; }));
  EXPECT_TRUE(refused([](S& s) { s.reserved1[14] = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.reserved2[31] = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.reserved3[0] = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.reserved4[3833] = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.configid[63] = 1; }));
  EXPECT_TRUE(refused([](S& s) { s.configsvn = 1; }));
  EXPECT_FALSE(refused([](S& s) { s.attributes.flags |= a::kss, s.configid[63] = 1, s.configsvn = 1; }));
}

TEST_F(SgxBuild, EcreatesOperands) {
  create();
  EXPECT_EQ(m.ecreate_page(secs, SgxMachine::plain_secs()), pf) << "the page is in use";
  EXPECT_EQ(m.fault.error, arch::pfec::p | arch::pfec::sgx | arch::pfec::wr);
  EXPECT_EQ(m.fault.address, SgxMachine::page(secs));
  EXPECT_EQ(m.run(ecreate, SgxMachine::pageinfo + 8, SgxMachine::page(first)), gp);
  EXPECT_EQ(m.run(ecreate, SgxMachine::pageinfo, SgxMachine::page(first) + 8), gp);
  EXPECT_EQ(m.run(ecreate, SgxMachine::pageinfo, SgxMachine::source), pf) << "not EPC";
  const auto with = [&](arch::Pageinfo info, arch::Secinfo secinfo = {}) {
    m.put(SgxMachine::pageinfo, info);
    m.put(SgxMachine::secinfo, secinfo);
    return m.run(ecreate, SgxMachine::pageinfo, SgxMachine::page(first));
  };
  const arch::Pageinfo good{0, SgxMachine::source, SgxMachine::secinfo, 0};
  EXPECT_EQ(with({0, good.srcpge + 8, good.secinfo, 0}), gp);
  EXPECT_EQ(with({0, good.srcpge, good.secinfo + 8, 0}), gp);
  EXPECT_EQ(with({4096, good.srcpge, good.secinfo, 0}), gp);
  EXPECT_EQ(with({0, good.srcpge, good.secinfo, 4096}), gp);
  EXPECT_EQ(with({0, u64{1} << 47, good.secinfo, 0}), gp) << "not canonical";
  EXPECT_EQ(with(good, {reg_rw, {}}), gp);
  EXPECT_EQ(with(good, {1 << 6, {}}), gp);
  EXPECT_EQ(with(good, {0, {1}}), gp);
  {
    const Held held(m.epcm(first).lock, LockMode::shared);
    EXPECT_EQ(with(good), gp);
  }
  EXPECT_EQ(with(good), 0);
}

TEST_F(SgxBuild, EaddMeasuresAndOwnsThePage) {
  create();
  EpcBytes content;
  content.fill(0x5a);
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base + 0x3000, reg_rw, content), 0);
  EXPECT_EQ(std::memcmp(m.package().page(first), content.data(), content.size()), 0);
  const EpcmEntry& e = m.epcm(first);
  EXPECT_TRUE(e.valid && e.read && e.write && !e.execute);
  EXPECT_EQ(e.type, PageType::reg);
  EXPECT_EQ(e.enclave_address, SgxMachine::base + 0x3000);
  EXPECT_EQ(e.secs, secs);
  EXPECT_EQ(m.epcm(secs).children, 1u);
  Measurement expected = Measurement::start();
  expected.ecreate(1, SgxMachine::size);
  expected.eadd(0x3000, {reg_rw, {}});
  EXPECT_EQ(m.secs(secs).architectural.mrenclave, expected.chain);

  ASSERT_EQ(m.run(eextend, SgxMachine::page(secs), SgxMachine::page(first) + 0x700), 0);
  expected.eextend(0x3700, std::span<const u8, 256>(content.data(), 256));
  EXPECT_EQ(m.secs(secs).architectural.mrenclave, expected.chain);
  EXPECT_EQ(m.secs(secs).internal().hash_blocks, 7u);
}

TEST_F(SgxBuild, EaddForcesATcsIntoItsFirstState) {
  create();
  arch::Tcs tcs{};
  tcs.state = 1;
  tcs.flags = arch::tcs_flags::dbgoptin | arch::tcs_flags::aexnotify;
  tcs.cssa = 2;
  tcs.nssa = 3;
  tcs.aep = 4;
  tcs.oentry = 5;
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base, tcs_page | flag::rwx, tcs), 0);
  const arch::Tcs& in = *reinterpret_cast<const arch::Tcs*>(m.package().page(first));
  EXPECT_EQ(in.state, 0u);
  EXPECT_EQ(in.flags, arch::tcs_flags::aexnotify);
  EXPECT_EQ(in.cssa, 0u);
  EXPECT_EQ(in.aep, 0u);
  EXPECT_EQ(in.nssa, 3u);
  EXPECT_EQ(in.oentry, 5u);
  EXPECT_FALSE(m.epcm(first).read || m.epcm(first).write || m.epcm(first).execute);
  Measurement expected = Measurement::start();
  expected.ecreate(1, SgxMachine::size);
  expected.eadd(0, {tcs_page, {}});
  EXPECT_EQ(m.secs(secs).architectural.mrenclave, expected.chain);
}

TEST_F(SgxBuild, EaddRefusesWhatTheManualLists) {
  create();
  const EpcBytes zero{};
  const u64 base = SgxMachine::base;
  const arch::Bytes32 before = m.secs(secs).architectural.mrenclave;
  EXPECT_EQ(m.eadd_page(first, secs, base + 1, reg_rw, zero), gp);
  EXPECT_EQ(m.eadd_page(first, secs, base + SgxMachine::size, reg_rw, zero), gp);
  EXPECT_EQ(m.eadd_page(first, secs, base - arch::page_size, reg_rw, zero), gp);
  EXPECT_EQ(m.eadd_page(first, secs, base, SgxMachine::flags_of(PageType::reg, flag::w), zero), gp);
  for (const PageType type : {PageType::secs, PageType::va, PageType::trim, PageType::ss_first, PageType::ss_rest}) {
    EXPECT_EQ(m.eadd_page(first, secs, base, SgxMachine::flags_of(type, flag::r | flag::w), zero), gp);
  }
  EXPECT_EQ(m.eadd_page(first, secs, base, reg_rw | 1 << 7, zero), gp);
  EXPECT_EQ(m.eadd_page(first, second, base, reg_rw, zero), pf) << "no SECS there";
  EXPECT_EQ(m.fault.address, SgxMachine::page(second));
  arch::Tcs tcs{};
  tcs.reserved[4023] = 1;
  EXPECT_EQ(m.eadd_page(first, secs, base, tcs_page, tcs), gp);
  {
    const Held held(m.epcm(first).lock, LockMode::shared);
    EXPECT_EQ(m.eadd_page(first, secs, base, reg_rw, zero), gp);
  }
  {
    const Held held(m.epcm(secs).lock, LockMode::exclusive);
    EXPECT_EQ(m.eadd_page(first, secs, base, reg_rw, zero), gp);
  }
  {
    const Held held(m.epcm(secs).build_lock, LockMode::exclusive);
    EXPECT_EQ(m.eadd_page(first, secs, base, reg_rw, zero), gp);
  }
  EXPECT_FALSE(m.epcm(first).valid);
  EXPECT_EQ(m.epcm(secs).children, 0u);
  EXPECT_EQ(m.secs(secs).architectural.mrenclave, before);
  ASSERT_EQ(m.eadd_page(first, secs, base, reg_rw, zero), 0);
  EXPECT_EQ(m.eadd_page(first, secs, base, reg_rw, zero), pf);
  EXPECT_EQ(m.fault.address, SgxMachine::page(first));
}

TEST_F(SgxBuild, EaddWantsWholePageLimitsOutside64BitMode) {
  arch::Secs s = SgxMachine::plain_secs();
  s.attributes.flags &= ~u64{arch::attributes::mode64bit};
  create(s);
  arch::Tcs tcs{};
  tcs.fslimit = tcs.gslimit = 0x1fff;
  tcs.gslimit = 0x1ffe;
  EXPECT_EQ(m.eadd_page(first, secs, SgxMachine::base, tcs_page, tcs), gp);
  tcs.gslimit = 0x1fff;
  EXPECT_EQ(m.eadd_page(first, secs, SgxMachine::base, tcs_page, tcs), 0);
}

TEST_F(SgxBuild, EextendsOperands) {
  create();
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base, reg_rw, EpcBytes{}), 0);
  const u64 s = SgxMachine::page(secs), p = SgxMachine::page(first);
  EXPECT_EQ(m.run(eextend, s + 8, p), gp);
  EXPECT_EQ(m.run(eextend, s, p + 0x80), gp);
  EXPECT_EQ(m.run(eextend, SgxMachine::source, p), pf);
  EXPECT_EQ(m.run(eextend, s, SgxMachine::source), pf);
  EXPECT_EQ(m.run(eextend, s, SgxMachine::page(second)), pf);
  EXPECT_EQ(m.run(eextend, s, s), pf) << "a SECS is not measured";
  EXPECT_EQ(m.run(eextend, p, p), gp) << "not the page's SECS";
  {
    const Held held(m.epcm(first).lock, LockMode::exclusive);
    EXPECT_EQ(m.run(eextend, s, p), gp);
  }
  {
    const Held held(m.epcm(secs).build_lock, LockMode::exclusive);
    EXPECT_EQ(m.run(eextend, s, p), gp);
  }
  EXPECT_EQ(m.run(eextend, s, p), 0);
}

TEST_F(SgxBuild, EinitWithoutATokenForTheLaunchSigner) {
  create();
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base, reg_rw, EpcBytes{}), 0);
  const arch::Sigstruct sig = signature();
  EXPECT_EQ(m.einit_secs(secs, sig), code(SgxError::invalid_einittoken));
  EXPECT_FALSE(m.secs(secs).initialised());
  trust(sig);
  ASSERT_EQ(m.einit_secs(secs, sig), 0);
  const arch::Secs& s = m.secs(secs).architectural;
  EXPECT_TRUE(m.secs(secs).initialised());
  EXPECT_EQ(s.mrenclave, sig.enclavehash);
  EXPECT_EQ(s.mrsigner, mrsigner_of(sig));
  EXPECT_EQ(s.isvprodid, 77);
  EXPECT_EQ(s.isvsvn, 5);
  EXPECT_EQ(m.secs(secs).internal().padding, signature_padding());

  EXPECT_EQ(m.einit_secs(secs, sig), gp) << "once only";
  EXPECT_EQ(m.eadd_page(second, secs, SgxMachine::base + 0x1000, reg_rw, EpcBytes{}), gp);
  EXPECT_EQ(m.run(eextend, SgxMachine::page(secs), SgxMachine::page(first)), gp);
}

TEST_F(SgxBuild, EinitsErrors) {
  create();
  arch::Sigstruct sig = signature();
  trust(sig);
  const auto resigned = [&](auto change) {
    arch::Sigstruct s = sig;
    change(s);
    SgxSigner::instance().sign(s);
    return m.einit_secs(secs, s);
  };
  using S = arch::Sigstruct;
  EXPECT_EQ(resigned([](S& s) { s.vendor = 1; }), code(SgxError::invalid_sig_struct));
  EXPECT_EQ(resigned([](S& s) { s.isvfamilyid[0] = 1; }), code(SgxError::invalid_sig_struct));
  EXPECT_EQ(resigned([](S& s) { s.enclavehash[0] ^= 1; }), code(SgxError::invalid_measurement));
  EXPECT_EQ(resigned([](S& s) { s.attributes.flags ^= 2; }), code(SgxError::invalid_attribute));
  EXPECT_EQ(resigned([](S& s) { s.attributes.xfrm ^= 4; }), code(SgxError::invalid_attribute));
  EXPECT_EQ(resigned([](S& s) { s.miscselect = s.miscmask = 1; }), code(SgxError::invalid_attribute));
  S bad = sig;
  bad.isvsvn ^= 1;
  EXPECT_EQ(m.einit_secs(secs, bad), code(SgxError::invalid_signature));
  EXPECT_EQ(m.einit_secs(first, sig), pf);
  EXPECT_EQ(m.run(einit, SgxMachine::sigstruct + 8, SgxMachine::page(secs), SgxMachine::token), gp);
  EXPECT_EQ(m.run(einit, SgxMachine::sigstruct, SgxMachine::page(secs), SgxMachine::token + 256), gp);
  {
    const Held held(m.epcm(secs).lock, LockMode::exclusive);
    EXPECT_EQ(m.einit_secs(secs, sig), gp);
  }
  EXPECT_EQ(m.einit_secs(secs, sig), 0) << "errors change nothing";
}

TEST_F(SgxBuild, LaunchKeyIsForTheLaunchSignerOnly) {
  arch::Secs s = SgxMachine::plain_secs();
  s.attributes.flags |= arch::attributes::einittokenkey;
  create(s);
  arch::Sigstruct sig = signature();
  sig.attributes.flags |= arch::attributes::einittokenkey;
  SgxSigner::instance().sign(sig);
  EXPECT_EQ(m.einit_secs(secs, sig), code(SgxError::invalid_attribute));
  trust(sig);
  EXPECT_EQ(m.einit_secs(secs, sig), 0);
}

TEST_F(SgxBuild, EinitWithAToken) {
  create();
  const arch::Sigstruct sig = signature();
  // What a launch enclave of the reset value's signer would make with EGETKEY's launch key.
  PlatformKeys& keys = m.package().keys();
  arch::Einittoken t{};
  t.valid = 1;
  t.attributes = m.secs(secs).architectural.attributes;
  t.mrenclave = sig.enclavehash;
  t.mrsigner = mrsigner_of(sig);
  t.cpusvnle = keys.cpusvn();
  t.isvprodidle = 20;
  t.isvsvnle = 3;
  t.maskedattributesle = {arch::attributes::init | arch::attributes::einittokenkey, 3};
  t.keyid[0] = 0x42;
  const auto mac = [&](arch::Einittoken& token) {
    KeyDependencies d;
    d.isvprodid = token.isvprodidle;
    d.isvsvn = token.isvsvnle;
    d.cpusvn = token.cpusvnle;
    d.attributes = token.maskedattributesle;
    d.miscselect = token.maskedmiscselectle;
    d.keyid = token.keyid;
    d.ownerepoch = keys.ownerepoch();
    d.seal_fuses = keys.seal_fuses();
    std::memcpy(d.mrsigner.data(), m.cpu().lepubkeyhash.data(), d.mrsigner.size());
    d.padding = signature_padding();
    token.mac = aes_cmac(keys.derive(d), std::span(reinterpret_cast<const u8*>(&token), 192));
  };
  const auto launched = [&](auto change) {
    arch::Einittoken token = t;
    change(token);
    mac(token);
    return m.einit_secs(secs, sig, token);
  };
  using T = arch::Einittoken;
  EXPECT_EQ(launched([](T& token) { token.valid = 3; }), code(SgxError::invalid_einittoken));
  EXPECT_EQ(launched([](T& token) { token.reserved1[43] = 1; }), code(SgxError::invalid_einittoken));
  EXPECT_EQ(launched([](T& token) { token.reserved4[22] = 1; }), code(SgxError::invalid_einittoken));
  EXPECT_EQ(launched([](T& token) { ++token.cpusvnle[15]; }), code(SgxError::invalid_cpusvn));
  EXPECT_EQ(launched([](T& token) { token.mrenclave[0] ^= 1; }), code(SgxError::invalid_measurement));
  EXPECT_EQ(launched([](T& token) { token.mrsigner[0] ^= 1; }), code(SgxError::invalid_measurement));
  EXPECT_EQ(launched([](T& token) { token.attributes.flags ^= 16; }), code(SgxError::invalid_attribute));
  arch::Einittoken forged = t;
  mac(forged);
  forged.mac[15] ^= 1;
  EXPECT_EQ(m.einit_secs(secs, sig, forged), code(SgxError::invalid_einittoken));
  EXPECT_EQ(launched([](T&) {}), 0);
}

TEST_F(SgxBuild, TokenOfADebugLauncherIsForDebugEnclaves) {
  arch::Secs s = SgxMachine::plain_secs();
  s.attributes.flags = arch::attributes::mode64bit;
  create(s);
  arch::Sigstruct sig = signature();
  sig.attributes.flags = arch::attributes::mode64bit;
  SgxSigner::instance().sign(sig);
  arch::Einittoken t{};
  t.valid = 1;
  t.maskedattributesle.flags = arch::attributes::debug;
  EXPECT_EQ(m.einit_secs(secs, sig, t), code(SgxError::invalid_einittoken));
}

TEST_F(SgxBuild, DebuggersAccess) {
  create();
  EpcBytes content{};
  content[8] = 0x11;
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base, reg_rw, content), 0);
  ASSERT_EQ(m.eadd_page(second, secs, SgxMachine::base + 0x1000, tcs_page, arch::Tcs{}), 0);
  const u64 p = SgxMachine::page(first), t = SgxMachine::page(second);
  ASSERT_EQ(m.run(edbgrd, 0, p + 8), 0);
  EXPECT_EQ(m.cpu().gpr[arch::rbx], 0x11u);
  ASSERT_EQ(m.run(edbgwr, 0x1234'5678'9abc'def0, p + 16), 0);
  ASSERT_EQ(m.run(edbgrd, 0, p + 16), 0);
  EXPECT_EQ(m.cpu().gpr[arch::rbx], 0x1234'5678'9abc'def0u);
  EXPECT_EQ(m.run(edbgrd, 0, p + 4), gp);
  EXPECT_EQ(m.run(edbgrd, 0, SgxMachine::source), pf);
  EXPECT_EQ(m.run(edbgrd, 0, SgxMachine::page(secs)), pf);
  EXPECT_EQ(m.run(edbgrd, 0, SgxMachine::page(5)), pf);

  EXPECT_EQ(m.run(edbgrd, 0, t + 64), 0);
  EXPECT_EQ(m.run(edbgrd, 0, t + 72), gp) << "past the TCS's fields";
  EXPECT_EQ(m.run(edbgwr, 1, t), gp) << "only FLAGS";
  EXPECT_EQ(m.run(edbgwr, 1, t + 16), gp);
  EXPECT_EQ(m.run(edbgwr, 1, t + 8), 0);

  m.epcm(first).pending = true;
  EXPECT_EQ(m.run(edbgrd, 0, p), code(SgxError::page_not_debuggable));
  m.epcm(first).pending = false;
  m.epcm(first).modified = true;
  EXPECT_EQ(m.run(edbgwr, 0, p), code(SgxError::page_not_debuggable));
  m.epcm(first).modified = false;
  {
    const Held held(m.epcm(first).lock, LockMode::exclusive);
    EXPECT_EQ(m.run(edbgrd, 0, p), gp);
  }
  m.secs(secs).architectural.attributes.flags &= ~u64{arch::attributes::debug};
  EXPECT_EQ(m.run(edbgrd, 0, p), gp);
  EXPECT_EQ(m.run(edbgwr, 0, p), gp);
}

TEST_F(SgxBuild, VersionsAreNotShown) {
  m.epcm(first).valid = true;
  m.epcm(first).type = PageType::va;
  const u64 version = 0x42;
  std::memcpy(m.package().page(first) + 8, &version, sizeof version);
  ASSERT_EQ(m.run(edbgrd, 0, SgxMachine::page(first) + 8), 0);
  EXPECT_EQ(m.cpu().gpr[arch::rbx], ~u64{0});
  ASSERT_EQ(m.run(edbgrd, 0, SgxMachine::page(first)), 0);
  EXPECT_EQ(m.cpu().gpr[arch::rbx], 0u);
  EXPECT_EQ(m.run(edbgwr, 0, SgxMachine::page(first)), pf);
}

TEST_F(SgxBuild, EremoveTakesTheEnclaveApart) {
  create();
  ASSERT_EQ(m.eadd_page(first, secs, SgxMachine::base, reg_rw, EpcBytes{}), 0);
  const u64 s = SgxMachine::page(secs), p = SgxMachine::page(first);
  EXPECT_EQ(m.run(eremove, 0, s), code(SgxError::child_present));
  EXPECT_EQ(m.run(eremove, 0, p + 8), gp);
  EXPECT_EQ(m.run(eremove, 0, SgxMachine::source), pf);
  {
    const Held held(m.epcm(first).lock, LockMode::shared);
    EXPECT_EQ(m.run(eremove, 0, p), gp);
    EXPECT_EQ(m.door().eremove(SgxMachine::first_frame + first).fault, arch::vector::gp);
  }
  m.epcm(secs).threads_now = 1;
  EXPECT_EQ(m.run(eremove, 0, p), code(SgxError::enclave_act));
  m.epcm(secs).threads_now = 0;
  EXPECT_EQ(m.run(eremove, 0, p), 0);
  EXPECT_EQ(m.run(eremove, 0, p), 0) << "an invalid page is no error";
  EXPECT_EQ(m.run(eremove, 0, s), 0);
  EXPECT_FALSE(m.epcm(secs).valid);
}

TEST_F(SgxBuild, VirtualChildrenKeepASecsUnderEpcVirtualization) {
  create();
  SecsInternal internal = m.secs(secs).internal();
  internal.virtchildcnt = 1;
  m.secs(secs).set_internal(internal);
  m.vcpu().set_controls({.epc_virtualization = true, .pause_loop_exiting = {}, .msr_passthrough = {}});
  EXPECT_EQ(m.run(eremove, 0, SgxMachine::page(secs)), code(SgxError::child_present));
  m.vcpu().set_controls({});
  EXPECT_EQ(m.run(eremove, 0, SgxMachine::page(secs)), 0);
}

TEST_F(SgxBuild, EnclaveFromTheField) {
  const auto stream = read_shared("test_enclave.sgxs"), signature_bytes = read_shared("test_enclave.sig");
  CLOISTER_SKIP_WITHOUT(stream, "test_enclave.sgxs");
  const auto records = parse_sgxs(stream);
  const arch::Sigstruct sig = sigstruct_from(signature_bytes);
  trust(sig);
  /// Builds it with one bit of the record's data changed, if there is such a record; RAX of EINIT.
  const auto load = [&](std::size_t changed) -> i64 {
    arch::Secs s = SgxMachine::plain_secs();
    s.attributes = {sig.attributes.flags, 3};
    s.miscselect = sig.miscselect;
    s.ssa_frame_size = records[0].field<u32>(8);
    s.size = records[0].field<u64>(12);
    EXPECT_EQ(m.ecreate_page(secs, s), 0);
    u32 index = secs;
    for (std::size_t i = 1; i < records.size();) {
      const SgxsRecord& add = records[i++];
      EpcBytes content{};
      std::vector<std::size_t> measured;
      const std::size_t first_chunk = i;
      for (; i < records.size() && records[i].name != "EADD"; ++i) {
        const std::size_t at = arch::page_offset(records[i].field<u64>(8));
        std::ranges::copy(records[i].data, content.begin() + static_cast<std::ptrdiff_t>(at));
        if (records[i].name == "EEXTEND") measured.push_back(at);
        if (i == changed) content[at] ^= 1;
      }
      EXPECT_GT(i, first_chunk);
      EXPECT_EQ(m.eadd_page(++index, secs, s.base + add.field<u64>(8), add.field<u64>(16), content), 0);
      for (const std::size_t at : measured) {
        EXPECT_EQ(m.run(eextend, SgxMachine::page(secs), SgxMachine::page(index) + at), 0);
      }
    }
    const i64 result = m.einit_secs(secs, sig);
    for (; index > 0; --index) EXPECT_EQ(m.run(eremove, 0, SgxMachine::page(index)), 0);
    EXPECT_EQ(m.run(eremove, 0, SgxMachine::page(secs)), 0);
    return result;
  };
  EXPECT_EQ(load(0), 0);
  for (const std::size_t i : {2u, 20u}) {
    ASSERT_EQ(records[i].name, "EEXTEND");
    EXPECT_EQ(load(i), code(SgxError::invalid_measurement)) << i;
  }
}

}  // namespace
}  // namespace cloister::silicon
