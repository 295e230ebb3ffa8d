// What a package is told to offer is what it has: in CPUID, in its leaves, its MSRs, and in enclaves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "silicon/cpuid.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "unit/silicon/sgx_machine.hpp"

namespace cloister::silicon {
namespace {

namespace a = arch::attributes;

Package::Config without(void (*change)(Features&)) {
  Package::Config config = SgxMachine::plain_config();
  change(config.features);
  return config;
}

/// XSAVE components: AVX where the host has it.
const u32 components = host_features().avx ? 7 : 3;

/// ECREATE with a change of the usual SECS.
bool refused(SgxMachine& m, void (*change)(arch::Secs&)) {
  arch::Secs secs = SgxMachine::plain_secs();
  change(secs);
  const i64 result = m.ecreate_page(0, secs);
  EXPECT_TRUE(result == 0 || result == -i64{arch::vector::gp}) << result;
  return result != 0;
}

// SDM vol. 2A, CPUID, table 3-8.
TEST(Offered, CpuidSaysWhatWasAskedFor) {
  SgxMachine m(without([](Features& f) {
    f.signature = 0x506e3;
    f.brand = "Intel(R) Core(TM) of a length that goes beyond its 48";
    f.leaf1_ecx = 0x77fafbff;
    f.leaf7_ebx &= ~(1u << 29);
    f.leaf7_ecx = 0;
    f.sgx.sgx2 = f.sgx.oss = f.sgx.kss = false;
    f.sgx.epc_property = 2;
    f.sgx.log2_size_64 = 36;
  }));
  const auto cpuid = [&](u32 leaf, u32 subleaf = 0) { return m.door().cpuid(leaf, subleaf); };
  EXPECT_EQ(cpuid(1).eax, 0x506e3u);
  EXPECT_EQ(cpuid(1).ecx & ~0x77fafbffu, 0u);
  EXPECT_EQ(cpuid(7).ebx >> 29 & 1, 0u) << "SHA";
  EXPECT_EQ(cpuid(7).ecx, 0u);
  EXPECT_EQ(cpuid(0x12, 0), (CpuidRegs{0xc21, 1, 0, 0x241f}));
  EXPECT_EQ(cpuid(0x12, 1), (CpuidRegs{0x436, 0, components, 0}));
  EXPECT_EQ(cpuid(0x12, 2).ecx & 0xf, 2u);
  CpuidRegs last = cpuid(0x8000'0004);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(&last), sizeof last), "at goes beyond i");
}

TEST(Offered, NothingThatIsNotImplemented) {
  SgxMachine m(without([](Features& f) { f.sgx.xfrm = 0x602e7, f.sgx.log2_size_64 = 56; }));
  EXPECT_EQ(m.door().cpuid(0x12, 1).ecx, components);
  EXPECT_EQ(m.door().cpuid(0x12, 0).edx, 0x2f1fu);
  EXPECT_TRUE(refused(m, [](arch::Secs& s) { s.attributes.xfrm = 0x27; }));
  EXPECT_EQ(m.door().cpuid(7, 0).ebx >> 16 & 1, 0u) << "AVX-512, though all bits are asked for";
}

// SDM vol. 1, 13.1 and 13.2: the component goes with its feature, and none of what needs AVX is there without it.
TEST(Offered, AvxWithItsComponent) {
  SgxMachine with(without([](Features&) {})), none(without([](Features&f) { f.leaf1_ecx &= ~(1u << 28); }));
  EXPECT_EQ(with.door().cpuid(0xd, 0).eax, components);
  EXPECT_EQ(with.door().cpuid(0xd, 0).ecx, host_features().avx ? 832u : 576u);
  EXPECT_EQ(with.door().cpuid(0xd, 2), (host_features().avx ? CpuidRegs{256, 576, 0, 0} : CpuidRegs{}));
  EXPECT_EQ(with.door().cpuid(1, 0).ecx >> 28 & 1, host_features().avx ? 1u : 0u);
  EXPECT_EQ(none.door().cpuid(0xd, 0), (CpuidRegs{3, 576, 576, 0}));
  EXPECT_EQ(none.door().cpuid(0xd, 2), CpuidRegs{});
}

// Nothing is offered whose instructions would be #UD, whatever is asked for.
TEST(Offered, WhatTheHostLacksIsNotThere) {
  const Package::Config all = SgxMachine::plain_config();
  const HostFeatures bare, with_avx2{.avx = true, .fma = true};
  constexpr u32 of_leaf1 = 1u << 1 | 1u << 12 | 1u << 25 | 1u << 28 | 1u << 29, fma_and_avx = 1u << 12 | 1u << 28,
                of_leaf7 = 1u << 5 | 1u << 29, avx2 = 1u << 5, vaes_and_vpclmulqdq = 1u << 9 | 1u << 10;
  EXPECT_EQ(cpuid_on(bare, all, 1, 0).ecx & of_leaf1, 0u);
  EXPECT_EQ(cpuid_on(bare, all, 7, 0).ebx & of_leaf7, 0u);
  EXPECT_EQ(cpuid_on(bare, all, 0xd, 0), (CpuidRegs{3, 576, 576, 0}));
  EXPECT_EQ(cpuid_on(bare, all, 0xd, 2), CpuidRegs{});
  EXPECT_EQ(cpuid_on(bare, all, 0x12, 1).ecx, 3u);
  EXPECT_EQ(cpuid_on(with_avx2, all, 1, 0).ecx & of_leaf1, fma_and_avx);
  EXPECT_EQ(cpuid_on(with_avx2, all, 7, 0).ebx & of_leaf7, avx2);
  EXPECT_EQ(cpuid_on(with_avx2, all, 7, 0).ecx & vaes_and_vpclmulqdq, 0u);
  EXPECT_EQ(cpuid_on(with_avx2, all, 0xd, 0), (CpuidRegs{7, 832, 832, 0}));
  EXPECT_EQ(cpuid_on(with_avx2, all, 0x12, 1).ecx, 7u);
  for (const u32 leaf : {1u, 7u, 0xdu, 0x12u})
    EXPECT_EQ(cpuid_on(host_features(), all, leaf, 0), Package::cpuid(all, leaf, 0)) << leaf;
}

// Each flag is one bit of leaf 12H, and nobody's but its own.
TEST(Offered, AFlagIsABit) {
  using vmx::SgxFlagRow;
  const auto config_without = [](const SgxFlagRow& row) {
    Package::Config config = SgxMachine::plain_config();
    config.features.sgx.*row.flag = false;
    return config;
  };
  u64 encls = 0, enclu = 0;
  for (const SgxFlagRow& row : vmx::sgx_flag_rows) {
    SgxMachine all, fewer(config_without(row));
    for (const u32 subleaf : {0u, 1u}) {
      const CpuidRegs most = all.door().cpuid(0x12, subleaf);
      CpuidRegs expected = most;
      if (subleaf == row.bit.subleaf) value_of(expected, row.bit.reg) &= ~(1u << row.bit.bit);
      EXPECT_EQ(fewer.door().cpuid(0x12, subleaf), expected) << row.name << " " << subleaf;
      EXPECT_EQ(most == expected, subleaf != row.bit.subleaf) << row.name << " " << subleaf;
    }
    EXPECT_EQ(encls & row.encls, 0u) << row.name;
    EXPECT_EQ(enclu & row.enclu, 0u) << row.name;
    encls |= row.encls;
    enclu |= row.enclu;
  }
  EXPECT_EQ(encls, 0x10fe000u) << "from EAUG on, and EUPDATESVN";
  EXPECT_EQ(enclu, 0x2e0u) << "EACCEPT, EMODPE, EACCEPTCOPY, EDECCSSA";
}

// What a limit has not is not there, flag by flag and word by word; what is not asked for neither.
TEST(Offered, WithinIsBoth) {
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    SgxFeatures without_it;
    without_it.*row.flag = false;
    EXPECT_EQ(within(without_it, SgxFeatures{}), without_it) << row.name;
    EXPECT_EQ(within(SgxFeatures{}, without_it), without_it) << row.name;
  }
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows) {
    Features without_it;
    without_it.*row.word = 0x5555'5555;
    EXPECT_EQ(within(without_it, Features{}), without_it) << row.name;
    EXPECT_EQ(within(Features{}, without_it), without_it) << row.name;
  }
}

// SDM vol. 2A, CPUID: leaves 1 and 80000001H have no sub-leaves, and answer alike for every ECX.
TEST(Offered, AWordIsARegister) {
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows) {
    Package::Config config = SgxMachine::plain_config();
    config.features.*row.word = 0;
    SgxMachine all, fewer(config);
    CpuidRegs expected = all.door().cpuid(row.leaf, row.subleaf);
    EXPECT_NE(value_of(expected, row.reg), 0u) << row.name;
    value_of(expected, row.reg) = 0;
    const bool sgx_is_off = !config.features.has_sgx();  // and with it SGX_LC
    if (sgx_is_off) expected.ecx &= ~(1u << 30);
    EXPECT_EQ(fewer.door().cpuid(row.leaf, row.subleaf), expected) << row.name;
    if (row.leaf == 1 || row.leaf == 0x8000'0001) {
      EXPECT_EQ(fewer.door().cpuid(row.leaf, 3), expected) << row.name;
    }
  }
}

TEST(Offered, AProcessorWithoutSgxHasNoEpc) {
  SgxMachine m(without([](Features& f) { f.leaf7_ebx &= ~(1u << 2); }));
  EXPECT_EQ(m.door().cpuid(7, 0).ecx >> 30 & 1, 0u) << "SGX_LC";
  EXPECT_EQ(m.door().cpuid(0x12, 0), CpuidRegs{});
  EXPECT_EQ(m.vcpu().read_msr(arch::msr::sgxlepubkeyhash0), std::nullopt);
  EXPECT_EQ(m.vcpu().read_msr(arch::msr::feature_control), arch::msr::feature_control_bits::lock);
}

// SDM vol. 4, table 2-2: IA32_SGXLEPUBKEYHASHn and bit 17 of IA32_FEATURE_CONTROL need SGX_LC; EINIT's hash is Intel's.
TEST(Offered, WithoutLaunchControlTheHashIsIntels) {
  SgxMachine m(without([](Features& f) { f.leaf7_ecx &= ~(1u << 30); }));
  EXPECT_EQ(m.vcpu().read_msr(arch::msr::feature_control), 0x40001u);
  for (u32 i = 0; i < 4; ++i) {
    EXPECT_EQ(m.vcpu().read_msr(arch::msr::sgxlepubkeyhash0 + i), std::nullopt);
    EXPECT_FALSE(m.vcpu().write_msr(arch::msr::sgxlepubkeyhash0 + i, 0));
    EXPECT_EQ(m.cpu().lepubkeyhash[i], arch::msr::intel_lepubkeyhash[i]);
  }
}

// SDM vol. 3D, 37.1.4: every processor has registers of its own, which firmware may have left with another hash.
TEST(Offered, TheHashIsFirmwaresAndEachProcessors) {
  Package::Config config = SgxMachine::plain_config();
  config.launch_hash = {1, 2, 3, 4};
  SgxMachine m(config);
  Vcpu second(m.door(), m.memory(), {});
  EXPECT_TRUE(m.vcpu().write_msr(arch::msr::sgxlepubkeyhash0, 5));
  EXPECT_EQ(m.vcpu().read_msr(arch::msr::sgxlepubkeyhash0), 5u);
  for (u32 i = 0; i < 4; ++i) EXPECT_EQ(second.read_msr(arch::msr::sgxlepubkeyhash0 + i), i + 1);

  config.launch_control_writable = false;
  SgxMachine locked(config);
  EXPECT_EQ(locked.vcpu().read_msr(arch::msr::feature_control), 0x40001u);
  EXPECT_FALSE(locked.vcpu().write_msr(arch::msr::sgxlepubkeyhash0, 5));
  EXPECT_EQ(locked.cpu().lepubkeyhash, config.launch_hash);
}

// Root mode's ECREATE makes what a guest's makes, and refuses what it refuses.
TEST(Offered, EcreateInRootModeIsTheGuests) {
  SgxMachine m;
  const arch::Secs secs = SgxMachine::plain_secs();
  arch::Secs bad = secs;
  bad.size = arch::page_size;
  arch::Secinfo regular{};
  regular.flags = SgxMachine::flags_of(arch::PageType::reg, 0);
  const arch::Mfn frame = SgxMachine::first_frame;
  const auto root = [&](arch::Mfn at, const arch::Secinfo& info, const arch::Secs& s) {
    return m.door().ecreate(at, info, s, arch::Gpa{0x123000}).fault.value_or(0);
  };
  EXPECT_EQ(root(frame + SgxMachine::epc_pages, {}, secs), arch::vector::pf) << "no EPC";
  EXPECT_EQ(root(frame, regular, secs), arch::vector::gp);
  EXPECT_EQ(root(frame, {}, bad), arch::vector::gp);
  EXPECT_FALSE(m.epcm(0).valid);
  EXPECT_EQ(root(frame, {}, secs), 0);
  EXPECT_EQ(root(frame, {}, secs), arch::vector::pf) << "not free";
  EXPECT_EQ(root(frame, {}, bad), arch::vector::pf) << "the EPCM comes before the SECS";
  EXPECT_EQ(m.ecreate_page(1, secs), 0);
  EXPECT_EQ(m.secs(0).architectural.mrenclave, m.secs(1).architectural.mrenclave);
  EXPECT_EQ(m.secs(0).internal().enclavecontext, 0x123000u);
  EXPECT_NE(m.secs(0).internal().eid, m.secs(1).internal().eid);
}

// SDM vol. 3D, 38.3, ECREATE: ATTRIBUTES, MISCSELECT and SIZE within what leaf 12H offers.
TEST(Offered, EcreateTakesWhatLeaf12Offers) {
  const auto kss = [](arch::Secs& s) { s.attributes.flags |= a::kss, s.configsvn = 1; };
  const auto notify = [](arch::Secs& s) { s.attributes.flags |= a::aexnotify; };
  const auto exinfo = [](arch::Secs& s) { s.miscselect = arch::miscselect::exinfo; };
  const auto large = [](arch::Secs& s) { s.base = 0, s.size = u64{1} << 36; };
  const auto large32 = [](arch::Secs& s) { s.attributes.flags &= ~a::mode64bit, s.base = 0, s.size = 1 << 30; };
  struct Case {
    const char* name;
    void (*secs)(arch::Secs&);
    void (*without)(Features&);
  };
  const Case cases[] = {
      {"kss", kss, [](Features& f) { f.sgx.kss = false; }},
      {"aexnotify", notify, [](Features& f) { f.sgx.aexnotify = false; }},
      {"exinfo", exinfo, [](Features& f) { f.sgx.exinfo = false; }},
      {"size, 64-bit", large, [](Features& f) { f.sgx.log2_size_64 = 36; }},
      {"size, 32-bit", large32, [](Features& f) { f.sgx.log2_size_32 = 30; }},
  };
  for (const Case& c : cases) {
    SgxMachine all, fewer(without(c.without));
    EXPECT_FALSE(refused(all, c.secs)) << c.name;
    EXPECT_TRUE(refused(fewer, c.secs)) << c.name;
    EXPECT_FALSE(refused(fewer, [](arch::Secs&) {})) << c.name;
  }
}

/// What an enclave's code runs into: where #UD was raised, from the start of the code (SDM vol. 3D, 36.6.1).
u64 undefined_at(Package::Config config, std::span<const u8> code) {
  constexpr u64 rx = 5, rw = 3;
  SgxMachine m(std::move(config));
  EXPECT_EQ(m.ecreate_page(0, SgxMachine::plain_secs()), 0);
  const auto add = [&](u32 index, u64 flags, const auto& content) {
    EXPECT_EQ(m.eadd_page(index, 0, SgxMachine::page(index), flags, content), 0);
  };
  const auto offset = [](u32 index) { return SgxMachine::page(index) - SgxMachine::base; };
  EpcBytes text{};
  std::ranges::copy(code, text.begin());
  arch::Tcs tcs{};
  tcs.ossa = offset(2);
  tcs.nssa = 1;
  tcs.oentry = offset(3);
  add(1, SgxMachine::flags_of(arch::PageType::tcs, 0), tcs);
  add(2, SgxMachine::flags_of(arch::PageType::reg, rw), EpcBytes{});
  add(3, SgxMachine::flags_of(arch::PageType::reg, rx), text);
  m.secs(0).architectural.attributes.flags |= a::init;

  m.cpu().cr0 |= arch::cr0::pe;
  m.cpu().cr4 |= arch::cr4::osfxsr;
  m.cpu().seg[arch::seg_cs].attributes |= attr::l;
  Controls controls;
  controls.exception_bitmap = 1u << arch::vector::ud;
  m.vcpu().set_controls(controls);
  EXPECT_EQ(m.run(eenter, SgxMachine::page(1), SgxMachine::ram), 0);
  const Exit exit = m.vcpu().run(100);
  EXPECT_EQ(exit.reason, ExitReason::exception_or_nmi);
  EXPECT_EQ(exit.interruption.vector, arch::vector::ud);
  EXPECT_TRUE(exit.enclave);
  return gprsgx_of(m.package(), 2).rip - SgxMachine::page(3);
}

// RDTSC and RDTSCP are legal in enclaves with SGX2.
TEST(Offered, ReadingTheTimeInEnclavesNeedsSgx2) {
  const Package::Config all = SgxMachine::plain_config(), sgx1 = without([](Features&f) { f.sgx.sgx2 = false; });
  constexpr u8 rdtsc[] = {0x0f, 0x31, 0x0f, 0x0b}, rdtscp[] = {0x0f, 0x01, 0xf9, 0x0f, 0x0b};  // then UD2
  EXPECT_EQ(undefined_at(all, rdtsc), 2u);
  EXPECT_EQ(undefined_at(all, rdtscp), 3u);
  EXPECT_EQ(undefined_at(sgx1, rdtsc), 0u);
  EXPECT_EQ(undefined_at(sgx1, rdtscp), 0u);
}

}  // namespace
}  // namespace cloister::silicon
