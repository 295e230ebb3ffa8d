// MSRs by number: SDM vol. 4, table 2-2; SGX's by vol. 3D, 37.1.4; MTRRs by vol. 3A, 11.11.
#include "hypervisor/msr_file.hpp"

#include <gtest/gtest.h>

#include "arch/msr.hpp"
#include "arch/regs.hpp"
#include "hypervisor/exits/cpuid_answer.hpp"

namespace cloister::hypervisor {
namespace {

namespace msr = arch::msr;
using policy::CpuidRegs;

class Host final : public MsrHost {
 public:
  std::optional<u64> read_silicon(u32 index) override {
    const auto found = silicon.find(index);
    return found == silicon.end() ? std::nullopt : std::optional(found->second);
  }
  bool write_silicon(u32 index, u64 value) override {
    if (!silicon.contains(index)) return false;
    silicon[index] = value;
    return true;
  }
  platform::LocalApic& apic() override { return local_apic; }
  u64 now() override { return 1000; }
  void apic_written(const std::optional<platform::InterruptMessage>& sent) override {
    if (sent) messages.push_back(*sent);
  }
  std::map<u32, u64> silicon;
  platform::LocalApic local_apic{0, 1'000'000'000, 25'000'000};
  std::vector<platform::InterruptMessage> messages;
};

class Msrs : public testing::Test {
 protected:
  Msrs() {
    cpuid.set(0, 0, {0x16, 0, 0, 0});
    cpuid.set(1, 0, {0, 0, 1u << 24 | 1u << 21, 1u << 12 | 1u << 14});
  }
  MsrFile file() const { return {cpuid, policy, 40}; }
  void with_sgx() {
    cpuid.set(7, 0, {0, 1u << 2, 1u << 30, 0});
    policy.sgx = true;
    for (u32 i = 0; i < 4; ++i) host.silicon[msr::sgxlepubkeyhash0 + i] = policy.lepubkeyhash[i];
  }
  policy::CpuidTable cpuid;
  policy::MsrPolicy policy;
  Host host;
};

TEST_F(Msrs, UnknownOnesFault) {
  MsrFile msrs = file();
  for (const u32 index : {0x34u, 0x64eu, 0x1234u, 0xc001'1029u, 0xffff'ffffu}) {
    EXPECT_EQ(msrs.read(index, host), std::nullopt) << std::hex << index;
    EXPECT_FALSE(msrs.write(index, 0, host)) << std::hex << index;
  }
}

TEST_F(Msrs, ConstantsReadAndRefuseWrites) {
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::mtrrcap, host), 0x508u) << "eight variable ranges, fixed ranges, write-combining";
  EXPECT_FALSE(msrs.write(msr::mtrrcap, 0x508, host));
  EXPECT_EQ(msrs.read(0x179, host), 0u) << "no machine-check banks";
}

TEST_F(Msrs, FeatureControlIsLocked) {
  with_sgx();
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::feature_control, host), policy.feature_control());
  EXPECT_NE(policy.feature_control() & msr::feature_control_bits::lock, 0u);
  EXPECT_FALSE(msrs.write(msr::feature_control, 0, host));
}

TEST_F(Msrs, LaunchHashFaultsWithoutSgx) {
  host.silicon[msr::sgxlepubkeyhash0] = 1;
  EXPECT_EQ(file().read(msr::sgxlepubkeyhash0, host), std::nullopt);
  EXPECT_FALSE(file().write(msr::sgxlepubkeyhash0, 1, host));
}

TEST_F(Msrs, LaunchHashIsWritableOnlyWithLaunchControl) {
  with_sgx();
  struct Case {
    bool launch_control, lewr, writable;
  };
  for (const Case& c : {Case{false, true, false}, Case{true, false, false}, Case{true, true, true}}) {
    policy.launch_control = c.launch_control;
    policy.lepubkeyhash_writable = c.lewr;
    MsrFile msrs = file();
    EXPECT_EQ(msrs.read(msr::sgxlepubkeyhash3, host), 0xd4f8'c059'09f9'bb3b);
    EXPECT_EQ(msrs.write(msr::sgxlepubkeyhash0, 0x1234, host), c.writable);
  }
  EXPECT_EQ(host.silicon[msr::sgxlepubkeyhash0], 0x1234u);
}

// SDM vol. 4, table 2-2: the MSRs are there with SGX_LC only.
TEST_F(Msrs, LaunchHashFaultsWithoutLaunchControl) {
  with_sgx();
  cpuid.set(7, 0, {0, 1u << 2, 0, 0});
  EXPECT_EQ(file().read(msr::sgxlepubkeyhash0, host), std::nullopt);
  EXPECT_FALSE(file().write(msr::sgxlepubkeyhash0, 0x1234, host));
}

TEST_F(Msrs, MtrrsAreCheckedAndKept) {
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::mtrr_def_type, host), 0xc06u) << "enabled, write-back";
  EXPECT_TRUE(msrs.write(0x200, 0x8000'0000 | 6, host));
  EXPECT_EQ(msrs.read(0x200, host), 0x8000'0006u);
  EXPECT_FALSE(msrs.write(0x200, 2, host)) << "type 2 is reserved";
  EXPECT_FALSE(msrs.write(0x200, 0x100 | 6, host)) << "bits 11:8 of a base";
  EXPECT_FALSE(msrs.write(0x202, u64{1} << 40, host)) << "beyond 40 physical bits";
  EXPECT_TRUE(msrs.write(0x201, 0xff'8000'0800, host));
  EXPECT_FALSE(msrs.write(0x201, 0xff'8000'0400, host)) << "bits 10:0 of a mask";
  EXPECT_TRUE(msrs.write(0x250, 0x0006'0501'0406'0606, host));
  EXPECT_FALSE(msrs.write(0x268, 0x0606'0606'0606'0603, host));
  EXPECT_FALSE(msrs.write(msr::mtrr_def_type, 0x1c06, host));
  EXPECT_EQ(msrs.read(0x210, host), std::nullopt) << "there is no ninth range";
}

TEST_F(Msrs, MtrrsNeedTheirCpuidBit) {
  cpuid.set(1, 0, {0, 0, 0, 0});
  EXPECT_EQ(file().read(msr::mtrrcap, host), std::nullopt);
  EXPECT_EQ(file().read(0x200, host), std::nullopt);
}

TEST_F(Msrs, SpeculationControlsNeedTheirCpuidBits) {
  EXPECT_EQ(file().read(msr::spec_ctrl, host), std::nullopt);
  EXPECT_EQ(file().read(msr::arch_capabilities, host), std::nullopt);
  cpuid.set(7, 0, {0, 0, 0, 1u << 26 | 1u << 29});
  MsrFile msrs = file();
  EXPECT_TRUE(msrs.write(msr::spec_ctrl, 1, host));
  EXPECT_EQ(msrs.read(msr::spec_ctrl, host), 1u);
  EXPECT_FALSE(msrs.write(msr::spec_ctrl, 1u << 5, host));
  EXPECT_TRUE(msrs.write(msr::pred_cmd, 1, host));
  EXPECT_EQ(msrs.read(msr::pred_cmd, host), std::nullopt) << "write-only";
  EXPECT_TRUE(msrs.read(msr::arch_capabilities, host));
}

TEST_F(Msrs, MiscEnableKeepsItsReadOnlyBits) {
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::misc_enable, host), 0x1801u);
  EXPECT_TRUE(msrs.write(msr::misc_enable, 0x1800, host));
  EXPECT_EQ(msrs.read(msr::misc_enable, host), 0x1800u);
  EXPECT_FALSE(msrs.write(msr::misc_enable, 0, host));
}

TEST_F(Msrs, MicrocodeUpdatesChangeNothing) {
  MsrFile msrs = file();
  const auto before = msrs.read(msr::bios_sign_id, host);
  ASSERT_TRUE(before);
  EXPECT_NE(*before >> 32, 0u) << "the revision is in the upper half";
  EXPECT_TRUE(msrs.write(msr::bios_sign_id, 0, host));
  EXPECT_TRUE(msrs.write(0x79, 0xffff'8880'0000'0030, host));
  EXPECT_EQ(msrs.read(msr::bios_sign_id, host), before);
}

TEST_F(Msrs, X2ApicRegistersNeedX2ApicMode) {
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(0x802, host), std::nullopt);
  EXPECT_FALSE(msrs.write(0x80b, 0, host));
  const auto base = msrs.read(msr::apic_base, host);
  ASSERT_TRUE(base);
  ASSERT_TRUE(msrs.write(msr::apic_base, *base | 3u << 10, host));
  EXPECT_EQ(msrs.read(0x802, host), 0u) << "the x2APIC id";
  EXPECT_FALSE(msrs.write(0x802, 1, host)) << "the id is read-only";
  EXPECT_TRUE(msrs.write(0x80f, 0x1ff, host));  // software-enable
  EXPECT_TRUE(msrs.write(0x83f, 0x55, host));   // SELF IPI
  if (!host.messages.empty()) host.local_apic.accept(host.messages.front().vector, false);
  EXPECT_EQ(host.local_apic.pending(), 0x55);
}

// SDM vol. 3B, 18.17.3: a write to either MSR changes the other by as much; a deadline stays one of the counter.
TEST_F(Msrs, TscAdjustIsTheCountersDistanceFromTheTime) {
  cpuid.set(7, 0, {0, 1u << 1, 0, 0});
  host.silicon[msr::tsc_adjust] = 0;
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::tsc, host), 1000u);
  EXPECT_TRUE(msrs.write(msr::tsc_adjust, 500, host));
  EXPECT_EQ(msrs.read(msr::tsc, host), 1500u);
  EXPECT_TRUE(msrs.write(msr::tsc, 400, host));
  EXPECT_EQ(msrs.read(msr::tsc_adjust, host), static_cast<u64>(-600));
  EXPECT_EQ(msrs.read(msr::tsc, host), 400u);
  host.local_apic.write(0xf0, 0x1ff, 1000);
  host.local_apic.write(0x320, 2u << 17 | 0x40, 1000);
  EXPECT_TRUE(msrs.write(msr::tsc_deadline, 700, host));
  EXPECT_EQ(host.local_apic.next_deadline(), 1300u);
  EXPECT_EQ(msrs.read(msr::tsc_deadline, host), 700u);
  EXPECT_TRUE(msrs.write(msr::tsc_adjust, 0, host));
  EXPECT_EQ(msrs.read(msr::tsc_deadline, host), 0u) << "the counter is past it";
  EXPECT_EQ(host.local_apic.pending(), 0x40);
}

TEST_F(Msrs, SiliconsRefusalIsTheGuestsFault) {
  MsrFile msrs = file();
  EXPECT_EQ(msrs.read(msr::efer, host), std::nullopt);
  host.silicon[msr::efer] = 0x500;
  EXPECT_EQ(msrs.read(msr::efer, host), 0x500u);
}

TEST(CpuidAnswer, DynamicBitsFollowTheProcessor) {
  policy::CpuidTable table;
  table.set(0, 0, {0x16, 0, 0, 0});
  table.set(1, 0, {0, 0, 1u << 26, 1u << 9});
  EXPECT_EQ(cpuid_answer(table, 1, 0, {}).ecx, 1u << 26);
  EXPECT_EQ(cpuid_answer(table, 1, 0, {.cr4 = arch::cr4::osxsave}).ecx, 1u << 26 | 1u << 27);
  EXPECT_EQ(cpuid_answer(table, 1, 0, {.apic_enabled = false}).edx, 0u);
}

TEST(CpuidAnswer, XsaveSizesFollowXcr0) {
  policy::CpuidTable table;
  table.set(0, 0, {0x16, 0, 0, 0});
  table.set(0xd, 0, {7, 999, 832, 0});
  table.set(0xd, 1, {1u << 1, 999, 0, 0});
  table.set(0xd, 2, {256, 640, 0, 0});  // at 640 in the standard form, unaligned in the compacted one
  EXPECT_EQ(cpuid_answer(table, 0xd, 0, {.xcr0 = 3}).ebx, 576u);
  EXPECT_EQ(cpuid_answer(table, 0xd, 0, {.xcr0 = 7}).ebx, 896u);
  EXPECT_EQ(cpuid_answer(table, 0xd, 1, {.xcr0 = 7}).ebx, 832u);
  EXPECT_EQ(cpuid_answer(table, 0xd, 0, {.xcr0 = 7}).ecx, 832u) << "the maximum is the policy's";
}

TEST(CpuidAnswer, TopologySubLeavesBeyondTheLastKeepTheId) {
  policy::CpuidTable table;
  table.set(0, 0, {0x16, 0, 0, 0});
  table.set(0xb, 0, {0, 1, 0x100, 3});
  table.set(0xb, 1, {0, 1, 0x201, 3});
  EXPECT_EQ(cpuid_answer(table, 0xb, 5, {.apic_id = 3}), (CpuidRegs{0, 0, 5, 3}));
  EXPECT_EQ(cpuid_answer(table, 0xb, 1, {.apic_id = 3}), (CpuidRegs{0, 1, 0x201, 3}));
}

TEST(CpuidAnswer, ApicIdsAreEachProcessorsOwn) {
  policy::CpuidTable table;
  table.set(0, 0, {0x1f, 0, 0, 0});
  table.set(1, 0, {0, 0x0004'0800, 0, 0});
  table.set(0xb, 0, {0, 1, 0x100, 0});
  table.set(0x1f, 0, {0, 1, 0x100, 0});
  EXPECT_EQ(cpuid_answer(table, 1, 0, {.apic_id = 2}).ebx, 0x0204'0800u);
  EXPECT_EQ(cpuid_answer(table, 0xb, 0, {.apic_id = 2}).edx, 2u);
  EXPECT_EQ(cpuid_answer(table, 0x1f, 1, {.apic_id = 2}).edx, 2u);
  table.set(0x1f, 0, {});
  EXPECT_EQ(cpuid_answer(table, 0x1f, 0, {.apic_id = 2}), CpuidRegs{});
}

}  // namespace
}  // namespace cloister::hypervisor
