// The local APIC's interrupts, registers and modes against SDM vol. 3A, ch. 11. The timer is in apic_timer_test.cpp.
#include "platform/apic.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace cloister::platform {
namespace {

constexpr u64 tsc_hz = 2'000'000'000, timer_hz = 25'000'000;
constexpr u64 base_enable = 1 << 11, base_x2apic = 1 << 10, base_bsp = 1 << 8;
constexpr u32 masked = 1 << 16;
constexpr u64 now = 1000;

// xAPIC offsets (table 11-1).
constexpr u32 id = 0x20, version = 0x30, tpr = 0x80, ppr = 0xa0, eoi = 0xb0, ldr = 0xd0, dfr = 0xe0, svr = 0xf0;
constexpr u32 isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, icr = 0x300, icr_high = 0x310, lvt_timer = 0x320;
constexpr u32 lvt_lint0 = 0x350, lvt_error = 0x370, initial_count = 0x380, divide = 0x3e0, self_ipi = 0x3f0;
constexpr u32 lvts[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
constexpr u32 msr_of(u32 offset) { return 0x800 + offset / 16; }

class Apic : public ::testing::Test {
 protected:
  Apic() { enable(apic_); }
  static void enable(LocalApic& apic) { apic.write(svr, 0x1ff, now); }
  u32 get(u32 offset) { return apic_.read(offset, now); }
  std::optional<InterruptMessage> set(u32 offset, u32 value) { return apic_.write(offset, value, now); }
  void enter_x2apic() { ASSERT_TRUE(apic_.set_base_msr(apic_.base_msr() | base_x2apic)); }
  std::optional<u64> get_msr(u32 offset) { return apic_.read_msr(msr_of(offset), now); }
  bool set_msr(u32 offset, u64 value) {
    sent_.reset();
    return apic_.write_msr(msr_of(offset), value, now, sent_);
  }
  // Whether the bit of a vector is set in ISR, TMR or IRR.
  bool bit(u32 which, u8 vector) { return get(which + vector / 32 * 16) >> (vector % 32) & 1; }
  u32 errors() {
    set(esr, 0);
    return get(esr);
  }

  LocalApic apic_{0, tsc_hz, timer_hz};
  std::optional<InterruptMessage> sent_;
};

TEST_F(Apic, StateAfterReset) {  // 11.4.7.1
  LocalApic apic(3, tsc_hz, timer_hz);
  EXPECT_EQ(apic.base_msr(), apic_default_base | base_enable);
  EXPECT_EQ(apic.read(id, now), 3u << 24);
  EXPECT_EQ(apic.read(version, now), 0x0005'0014u);
  for (u32 zero : {tpr, ppr, ldr, isr, tmr, irr, esr, icr, icr_high, initial_count, u32{0x390}, divide})
    EXPECT_EQ(apic.read(zero, now), 0u) << std::hex << zero;
  EXPECT_EQ(apic.read(dfr, now), 0xffff'ffffu);
  EXPECT_EQ(apic.read(svr, now), 0xffu);
  for (u32 lvt : lvts) EXPECT_EQ(apic.read(lvt, now), masked);
  EXPECT_FALSE(apic.x2apic());
}

TEST_F(Apic, TheFirstIsTheBootstrapProcessors) {
  EXPECT_EQ(apic_.base_msr(), apic_default_base | base_enable | base_bsp);
  apic_.set_base_msr(apic_default_base | base_enable);  // which software cannot change
  EXPECT_TRUE(apic_.base_msr() & base_bsp);
}

TEST_F(Apic, DeliversTheHighestVectorFirst) {  // 11.8.3
  for (u8 vector : {0x31, 0xf0, 0x80}) apic_.accept(vector, false);
  EXPECT_TRUE(bit(irr, 0x80));
  EXPECT_EQ(apic_.pending(), 0xf0);
  EXPECT_EQ(apic_.acknowledge(), 0xf0);
  EXPECT_TRUE(bit(isr, 0xf0));
  EXPECT_FALSE(bit(irr, 0xf0));
  EXPECT_EQ(apic_.pending(), std::nullopt);  // lower classes wait for the EOI
  set(eoi, 0);
  EXPECT_FALSE(bit(isr, 0xf0));
  EXPECT_EQ(apic_.acknowledge(), 0x80);
  apic_.accept(0x8f, false);  // same class: waits
  EXPECT_EQ(apic_.pending(), std::nullopt);
  apic_.accept(0x90, false);  // higher class: nests
  EXPECT_EQ(apic_.acknowledge(), 0x90);
  set(eoi, 0);  // ends 0x90
  EXPECT_TRUE(bit(isr, 0x80));
  set(eoi, 0);
  EXPECT_EQ(apic_.acknowledge(), 0x8f);
}

TEST_F(Apic, AnEoiWithNothingInServiceDoesNothing) {
  apic_.accept(0x40, true);
  set(eoi, 0);
  EXPECT_EQ(apic_.pending(), 0x40);
  EXPECT_EQ(apic_.take_eoi_broadcast(), std::nullopt);
}

TEST_F(Apic, ProcessorPriorityFollowsTaskPriorityAndService) {  // 11.8.3.1, figure 11-19
  set(tpr, 0x35);
  EXPECT_EQ(get(ppr), 0x35u);
  apic_.accept(0x3f, false);
  EXPECT_EQ(apic_.pending(), std::nullopt);
  apic_.accept(0x41, false);
  EXPECT_EQ(apic_.acknowledge(), 0x41);
  EXPECT_EQ(get(ppr), 0x40u);
  set(tpr, 0x52);
  EXPECT_EQ(get(ppr), 0x52u);
  set(eoi, 0);
  set(tpr, 0);
  EXPECT_EQ(apic_.pending(), 0x3f);
}

TEST_F(Apic, Cr8IsTheTaskPrioritysClass) {  // 11.8.6
  apic_.set_cr8(0x9);
  EXPECT_EQ(get(tpr), 0x90u);
  set(tpr, 0x3a);
  EXPECT_EQ(apic_.cr8(), 3);
}

TEST_F(Apic, SpuriousVectorIfTheInterruptIsNoLongerDeliverable) {  // 11.9
  set(svr, 0x1ef);
  apic_.accept(0x40, false);
  set(tpr, 0x50);
  EXPECT_EQ(apic_.acknowledge(), 0xef);
  EXPECT_FALSE(bit(isr, 0xef));
  EXPECT_TRUE(bit(irr, 0x40));
}

TEST_F(Apic, LevelInterruptsBroadcastTheirEoi) {  // 11.8.4, 11.8.5
  apic_.accept(0x41, true);
  EXPECT_TRUE(bit(tmr, 0x41));
  apic_.acknowledge();
  EXPECT_EQ(apic_.take_eoi_broadcast(), std::nullopt);
  set(eoi, 0);
  EXPECT_EQ(apic_.take_eoi_broadcast(), 0x41);
  EXPECT_EQ(apic_.take_eoi_broadcast(), std::nullopt);
  apic_.accept(0x41, false);  // TMR follows the latest
  EXPECT_FALSE(bit(tmr, 0x41));
  apic_.acknowledge();
  set(eoi, 0);
  EXPECT_EQ(apic_.take_eoi_broadcast(), std::nullopt);
}

TEST_F(Apic, SoftwareDisabledItMasksItsLvtAndAcceptsNothing) {  // 11.4.7.2
  set(lvt_lint0, 0x700);
  EXPECT_EQ(get(lvt_lint0), 0x700u);
  apic_.accept(0x40, false);
  set(svr, 0xff);
  for (u32 lvt : lvts) EXPECT_TRUE(get(lvt) & masked);
  set(lvt_timer, 0x30);  // the mask cannot be cleared
  EXPECT_EQ(get(lvt_timer), masked | 0x30);
  apic_.accept(0x50, false);
  EXPECT_FALSE(bit(irr, 0x50));
  EXPECT_TRUE(bit(irr, 0x40));  // what waited still does
  apic_.accept_nmi();
  EXPECT_TRUE(apic_.take_nmi());
  ASSERT_TRUE(set(icr, 0x4500));  // INIT can still be sent
}

TEST_F(Apic, TakesEachNmiOnce) {
  EXPECT_FALSE(apic_.take_nmi());
  apic_.accept_nmi();
  apic_.accept_nmi();
  EXPECT_TRUE(apic_.take_nmi());
  EXPECT_FALSE(apic_.take_nmi());
}

TEST_F(Apic, LvtEntriesHaveTheirOwnBits) {  // figure 11-8
  const std::pair<u32, u32> bits[] = {{0x320, 0x7'00ff}, {0x330, 0x1'07ff}, {0x340, 0x1'07ff},
                                      {0x350, 0x1'a7ff}, {0x360, 0x1'a7ff}, {0x370, 0x1'00ff}};
  for (auto [offset, mask] : bits) {
    set(offset, 0xffff'ffff);
    EXPECT_EQ(get(offset), mask) << std::hex << offset;
  }
}

TEST_F(Apic, IllegalVectorsAndRegistersAreErrors) {  // 11.5.2, 11.5.3
  set(lvt_error, 0xfe);
  apic_.accept(0x0f, false);
  EXPECT_EQ(apic_.acknowledge(), 0xfe);
  set(eoi, 0);
  EXPECT_EQ(get(esr), 0u);  // a write latches it
  EXPECT_EQ(errors(), 1u << 6);
  EXPECT_EQ(errors(), 0u);
  EXPECT_FALSE(set(icr, 0x0f));
  EXPECT_EQ(errors(), 1u << 5);
  get(0x40);
  EXPECT_EQ(errors(), 1u << 7);
  set(0x2f0, 0);  // no CMCI entry
  EXPECT_EQ(errors(), 1u << 7);
  set(self_ipi, 0x40);  // x2APIC only
  EXPECT_EQ(errors(), 1u << 7);
  EXPECT_EQ(apic_.pending(), 0xfe);
}

TEST_F(Apic, AnErrorVectorThatIsIllegalItselfDoesNotLoop) {
  set(lvt_error, 0x05);
  apic_.accept(0x01, false);
  EXPECT_EQ(errors(), 1u << 6);
  EXPECT_EQ(apic_.pending(), std::nullopt);
}

TEST_F(Apic, ReadOnlyRegistersIgnoreWrites) {
  for (u32 offset : {id, version, ppr, isr, tmr, irr, u32{0x390}}) {
    const u32 before = get(offset);
    set(offset, 0x5a5a'5a5a);
    EXPECT_EQ(get(offset), before) << std::hex << offset;
  }
  EXPECT_EQ(errors(), 0u);
}

TEST_F(Apic, IcrSendsItsFields) {  // figure 11-12
  set(icr_high, 0x0900'0000);
  const auto sent = set(icr, 1 << 14 | 1 << 11 | 1 << 8 | 0x77);
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->destination, 9u);
  EXPECT_TRUE(sent->logical);
  EXPECT_EQ(sent->delivery, 1);
  EXPECT_EQ(sent->vector, 0x77);
  EXPECT_EQ(sent->shorthand, 0);
  EXPECT_FALSE(sent->level);
  EXPECT_EQ(get(icr), 0x4977u);  // delivery status idle
}

TEST_F(Apic, IcrStartsOtherProcessors) {
  set(icr_high, 1 << 24);
  const auto init = set(icr, 0xc500);  // level, assert
  ASSERT_TRUE(init);
  EXPECT_EQ(init->delivery, 5);
  EXPECT_FALSE(set(icr, 0x8500));  // INIT level de-assert: not since the Pentium 4
  const auto sipi = set(icr, 0x4608);
  ASSERT_TRUE(sipi);
  EXPECT_EQ(sipi->delivery, 6);
  EXPECT_EQ(sipi->vector, 8);
  EXPECT_FALSE(set(icr, 0x4340));  // reserved delivery modes
  EXPECT_FALSE(set(icr, 0x4740));
}

TEST_F(Apic, ShorthandsOfTable11_3) {
  EXPECT_FALSE(set(icr, 0x4'4060));  // self: accepted here
  EXPECT_EQ(apic_.pending(), 0x60);
  EXPECT_FALSE(set(icr, 0x4'4400));  // NMI to self is invalid
  EXPECT_FALSE(apic_.take_nmi());
  EXPECT_EQ(set(icr, 0x8'4061)->shorthand, 2);
  EXPECT_FALSE(set(icr, 0x8'4400));
  EXPECT_EQ(set(icr, 0xc'4061)->shorthand, 3);
  EXPECT_EQ(set(icr, 0xc'4400)->delivery, 4);
}

TEST_F(Apic, MatchesPhysicalDestinations) {  // 11.6.2.1
  LocalApic apic(5, tsc_hz, timer_hz);
  EXPECT_TRUE(apic.matches({.destination = 5}));
  EXPECT_FALSE(apic.matches({.destination = 4}));
  EXPECT_TRUE(apic.matches({.destination = 0xff}));
  EXPECT_TRUE(apic.matches({.shorthand = 2}));
  apic.set_base_msr(apic_default_base);
  EXPECT_FALSE(apic.matches({.destination = 5}));
}

TEST_F(Apic, MatchesLogicalDestinations) {  // 11.6.2.2
  auto matches = [&](u32 to) { return apic_.matches({.destination = to, .logical = true}); };
  EXPECT_FALSE(matches(0x01));  // LDR is zero
  set(ldr, 0x0400'0000);
  EXPECT_TRUE(matches(0x04));
  EXPECT_TRUE(matches(0x0c));
  EXPECT_FALSE(matches(0x03));
  EXPECT_TRUE(matches(0xff));
  set(dfr, 0);  // cluster model
  EXPECT_EQ(get(dfr), 0x0fff'ffffu);
  set(ldr, 0x2400'0000);
  EXPECT_TRUE(matches(0x24));
  EXPECT_TRUE(matches(0x2f));
  EXPECT_FALSE(matches(0x14));
  EXPECT_FALSE(matches(0x23));
  EXPECT_TRUE(matches(0xff));
}

TEST_F(Apic, X2apicHas32BitIdsAndADerivedLogicalId) {  // 11.12.10.2
  LocalApic apic(0x123, tsc_hz, timer_hz);
  ASSERT_TRUE(apic.set_base_msr(apic.base_msr() | base_x2apic));
  EXPECT_EQ(apic.read_msr(msr_of(id), now), 0x123u);
  EXPECT_EQ(apic.read_msr(msr_of(ldr), now), 0x0012'0008u);
  EXPECT_TRUE(apic.matches({.destination = 0x123}));
  EXPECT_FALSE(apic.matches({.destination = 0x23}));
  EXPECT_TRUE(apic.matches({.destination = 0xffff'ffff}));
  EXPECT_TRUE(apic.matches({.destination = 0x0012'0018, .logical = true}));
  EXPECT_FALSE(apic.matches({.destination = 0x0012'0010, .logical = true}));
  EXPECT_FALSE(apic.matches({.destination = 0x0011'0008, .logical = true}));
}

TEST_F(Apic, ModesChangeOnlyAlongFigure11_28) {
  const u64 off = apic_default_base | base_bsp, xapic = off | base_enable, x2apic = xapic | base_x2apic;
  EXPECT_FALSE(apic_.set_base_msr(off | base_x2apic));  // invalid
  EXPECT_TRUE(apic_.set_base_msr(x2apic));
  EXPECT_TRUE(apic_.x2apic());
  EXPECT_FALSE(apic_.set_base_msr(xapic));
  EXPECT_FALSE(apic_.set_base_msr(off | base_x2apic));
  EXPECT_TRUE(apic_.set_base_msr(off));
  EXPECT_FALSE(apic_.enabled());
  EXPECT_FALSE(apic_.set_base_msr(x2apic));
  EXPECT_TRUE(apic_.set_base_msr(xapic));
  EXPECT_EQ(get(svr), 0xffu);  // disabling lost all state (11.4.3)
}

TEST_F(Apic, BaseMsrHasReservedBits) {
  for (u64 reserved : {u64{1}, u64{1} << 9, u64{1} << 52, u64{1} << 63})
    EXPECT_FALSE(apic_.set_base_msr(apic_.base_msr() | reserved)) << reserved;
  EXPECT_TRUE(apic_.set_base_msr(0x1'2345'6000 | base_enable));
  EXPECT_EQ(apic_.mmio_base(), 0x1'2345'6000u);
}

TEST_F(Apic, EachModeHasItsOwnDoor) {
  EXPECT_EQ(get_msr(id), std::nullopt);
  EXPECT_FALSE(set_msr(tpr, 0x10));
  enter_x2apic();
  set(tpr, 0x20);
  EXPECT_EQ(get_msr(tpr), 0u);
  EXPECT_EQ(get(version), 0u);
}

TEST_F(Apic, X2apicKeepsWhatXapicHad) {  // 11.12.5.1
  set(lvt_error, 0x33);
  apic_.accept(0x40, false);
  set(icr_high, 0x0700'0000);
  enter_x2apic();
  EXPECT_EQ(get_msr(lvt_error), 0x33u);
  EXPECT_EQ(get_msr(svr), 0x1ffu);
  EXPECT_EQ(apic_.pending(), 0x40);
  EXPECT_EQ(*get_msr(icr) >> 32, 0u);
}

TEST_F(Apic, X2apicRegistersThatDoNotExistFault) {  // table 11-6
  enter_x2apic();
  for (u32 offset : {0x000u, 0x010u, 0x040u, 0x090u, 0x0c0u, dfr, 0x290u, 0x2e0u, 0x2f0u, icr_high, 0x3a0u, 0x3d0u}) {
    EXPECT_EQ(get_msr(offset), std::nullopt) << std::hex << offset;
    EXPECT_FALSE(set_msr(offset, 0)) << std::hex << offset;
  }
  for (u32 offset : {0x400u, 0xff0u}) EXPECT_EQ(get_msr(offset), std::nullopt) << std::hex << offset;
  for (u32 write_only : {eoi, self_ipi}) EXPECT_EQ(get_msr(write_only), std::nullopt);
  for (u32 read_only : {id, version, ppr, ldr, isr, tmr + 0x70, irr, 0x390u}) {
    EXPECT_NE(get_msr(read_only), std::nullopt);
    EXPECT_FALSE(set_msr(read_only, 0)) << std::hex << read_only;
  }
}

TEST_F(Apic, X2apicFaultsOnReservedBits) {  // 11.12.1.3
  enter_x2apic();
  const std::pair<u32, u64> writes[] = {{tpr, 0x100},
                                        {eoi, 1},
                                        {svr, 1 << 12},
                                        {esr, 1},
                                        {lvt_timer, 0x100},
                                        {lvt_timer, 1 << 14},
                                        {lvt_lint0, 1 << 17},
                                        {lvt_error, 0x100},
                                        {divide, 4},
                                        {self_ipi, 0x100},
                                        {icr, 1 << 13},
                                        {icr, 1 << 16},
                                        {icr, 1 << 20},
                                        {tpr, u64{1} << 32},
                                        {initial_count, u64{1} << 32}};
  for (auto [offset, value] : writes) EXPECT_FALSE(set_msr(offset, value)) << std::hex << offset << " " << value;
  for (auto [offset, value] : {std::pair<u32, u64>{tpr, 0xff},
                               {eoi, 0},
                               {svr, 0x1ff},
                               {esr, 0},
                               {lvt_timer, 0x7'00ff},
                               {lvt_lint0, 0x1'a7ff},
                               {divide, 0xb},
                               {initial_count, 0xffff'ffff}})
    EXPECT_TRUE(set_msr(offset, value)) << std::hex << offset;
}

TEST_F(Apic, X2apicIcrIsOneWriteOf64Bits) {  // 11.12.9
  enter_x2apic();
  ASSERT_TRUE(set_msr(icr, 0x0012'0008'0000'4877));
  ASSERT_TRUE(sent_);
  EXPECT_EQ(sent_->destination, 0x0012'0008u);
  EXPECT_TRUE(sent_->logical);
  EXPECT_EQ(sent_->vector, 0x77);
  EXPECT_EQ(get_msr(icr), 0x0012'0008'0000'4877u);
}

TEST_F(Apic, SelfIpiIsAccepted) {  // 11.12.11
  enter_x2apic();
  EXPECT_TRUE(set_msr(self_ipi, 0x66));
  EXPECT_FALSE(sent_);
  EXPECT_EQ(apic_.pending(), 0x66);
}

TEST_F(Apic, InitKeepsTheModeAndResetDoesNot) {  // 11.4.7.3, 11.12.5.2
  enter_x2apic();
  apic_.accept(0x40, false);
  apic_.accept_nmi();
  apic_.init();
  EXPECT_TRUE(apic_.x2apic());
  EXPECT_EQ(apic_.pending(), std::nullopt);
  EXPECT_FALSE(apic_.take_nmi());
  EXPECT_EQ(get_msr(svr), 0xffu);
  apic_.reset();
  EXPECT_EQ(apic_.base_msr(), apic_default_base | base_enable | base_bsp);
  EXPECT_EQ(get(svr), 0xffu);
}

}  // namespace
}  // namespace cloister::platform
