// S3 (ACPI 6.4, 16.1.3; SDM vol. 3D, 36.5): what a guest keeps, what it loses, and where it goes on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "silicon/sgx/epc/package_impl.hpp"
#include "unit/hypervisor/guests.hpp"

// Each guest leaves a waking vector in the FACS, prints "s" and falls asleep. Where it goes on, it prints "w" if
// WAK_STS is set, and what it left in RAM ("m"), and powers the machine off.
asm(R"(
  .pushsection .rodata
  .code32

  .set facs, 0xef000
  .set vector, facs + 12
  .set x_vector, facs + 24
  .set kept, 0x9000

  .macro fall_asleep
    movb $'m', kept
    mov $0x3f8, %dx
    mov $'s', %al
    out %al, %dx
    mov $0x604, %dx
    mov $0x2400, %ax                    # SLP_EN, S3's type 1
    out %ax, %dx
2:  jmp 2b
  .endm

  .macro went_on
    mov $0x608, %dx
    in %dx, %ax
    mov $'-', %bl
    test $0x8000, %ax                   # WAK_STS
    jz 3f
    mov $'w', %bl
3:  mov %bl, %al
    mov $0x3f8, %dx
    out %al, %dx
    mov kept, %al
    out %al, %dx
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
4:  hlt
    jmp 4b
  .endm

  .global guest_sleeper, guest_sleeper_end
guest_sleeper:
    mov $0x100000 + sleeper_real - guest_sleeper, %esi
    mov $0x8003, %edi                   # as 0x0800:0003
    mov $sleeper_real_end - sleeper_real, %ecx
    rep movsb
    movl $0x8003, vector
    fall_asleep
  .code16
sleeper_real:
    mov %cs, %ax
    cmp $0x800, %ax
    jne .
    xor %ax, %ax
    mov %ax, %ds
    went_on
sleeper_real_end:
guest_sleeper_end:

  .code32
  .global guest_flat_sleeper, guest_flat_sleeper_end
guest_flat_sleeper:
    movl $0x100000 + 1f - guest_flat_sleeper, x_vector
    movl $0xffffffff, vector            # does not count
    fall_asleep
1:  went_on
guest_flat_sleeper_end:

  .global guest_lost_sleeper, guest_lost_sleeper_end
guest_lost_sleeper:
    movl $0x100000, vector              # no address of real mode
    fall_asleep
guest_lost_sleeper_end:

# The second processor spins, and is out of the guest while it sleeps; the first one starts it again afterwards.
  .global guest_two_sleepers, guest_two_sleepers_end
guest_two_sleepers:
    movl $0x1ff, 0xfee000f0
    mov $0x100000 + two_second - guest_two_sleepers, %esi
    mov $0x7000, %edi
    mov $two_second_end - two_second, %ecx
    rep movsb
    movl $1 << 24, 0xfee00310
    movl $0x4500, 0xfee00300            # INIT
    movl $0x4607, 0xfee00300            # SIPI, page 7
1:  cmpb $0, 0x9001
    je 1b
    movl $0x100000 + 1f - guest_two_sleepers, x_vector
    fall_asleep
1:  movl $0x1ff, 0xfee000f0
    movb $0, 0x9001
    movl $1 << 24, 0xfee00310
    movl $0x4607, 0xfee00300            # it waits for SIPI already
1:  cmpb $0, 0x9001
    je 1b
    went_on
  .code16
two_second:
    xor %ax, %ax
    mov %ax, %ds
1:  incb 0x9001
    orb $1, 0x9001
    jmp 1b
two_second_end:
guest_two_sleepers_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(sleeper)
CLOISTER_GUEST(flat_sleeper)
CLOISTER_GUEST(lost_sleeper)
CLOISTER_GUEST(two_sleepers)

using silicon::ClockMode;
using Act = void (Domain::*)();

const std::vector<silicon::EpcSection> epc{{arch::Mfn{100}, 128}, {arch::Mfn{500}, 128}};

class Sleep : public testing::TestWithParam<ClockMode> {
 protected:
  /// Runs a guest with 1 MiB of EPC; when it sleeps, `woken` is called on another thread.
  Outcome run(std::span<const u8> code, const std::function<void(Domain&)>& woken, u32 vcpus = 1) {
    DomainSpec spec = spec_of(code, GetParam());
    spec.map = *platform::make_memory_map(u64{16} << 20, u64{1} << 20, 40);
    spec.vcpus = vcpus;
    auto domain = Domain::create(package_, std::move(spec), epc);
    EXPECT_TRUE(domain) << domain.error();
    RunOptions options = options_;
    options.timeout = std::chrono::seconds(60);
    options.console_out = [&](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
    std::mutex mutex;
    std::condition_variable changed;
    bool asleep = false;
    options.fell_asleep = [&] {
      const std::lock_guard held(mutex);
      asleep = true;
      changed.notify_all();
    };
    std::jthread other([&] {
      std::unique_lock held(mutex);
      changed.wait(held, [&] { return asleep; });
      held.unlock();
      EXPECT_TRUE((*domain)->asleep());
      woken(**domain);
    });
    return (*domain)->run(options);
  }

  silicon::Package package_{{.epc = epc}};
  std::string console_;
  RunOptions options_;
};

TEST_P(Sleep, ItGoesOnInRealModeWithWhatItHadInRam) {
  const Outcome outcome = run(sleeper(), [](Domain& domain) {
    EXPECT_TRUE(domain.wake());
    EXPECT_FALSE(domain.wake()) << "it is awake";
  });
  EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
  EXPECT_EQ(console_, "swm");
}

TEST_P(Sleep, TheXVectorCountsBeforeTheOther) {
  EXPECT_EQ(run(flat_sleeper(), [](Domain& domain) { domain.wake(); }).ending, Ending::powered_off);
  EXPECT_EQ(console_, "swm");
}

TEST_P(Sleep, ThePowerButtonWakes) {
  EXPECT_EQ(run(sleeper(), [](Domain& domain) { domain.press_power_button(); }).ending, Ending::powered_off);
  EXPECT_EQ(console_, "swm");
}

TEST_P(Sleep, WhatIsTypedWakesAndTheEndOfTheInputDoesNot) {
  for (const bool types : {true, false}) {
    int keyboard[2];
    ASSERT_EQ(::pipe(keyboard), 0);
    options_.console_in = keyboard[0];
    options_.input_wakes = true;
    console_.clear();
    const Outcome outcome = run(sleeper(), [&](Domain& domain) {
      if (types) {
        EXPECT_EQ(::write(keyboard[1], "x", 1), 1);
        return;
      }
      ::close(std::exchange(keyboard[1], -1));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      EXPECT_TRUE(domain.wake()) << "the end of its input has woken it";
    });
    EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
    EXPECT_EQ(console_, "swm");
    ::close(keyboard[0]);
    if (types) ::close(keyboard[1]);
  }
}

TEST_P(Sleep, WithoutAWayToGoOnItIsACrash) {
  const Outcome outcome = run(lost_sleeper(), [](Domain& domain) { domain.wake(); });
  EXPECT_EQ(outcome.ending, Ending::crashed);
  EXPECT_NE(outcome.report.find("left 0x100000 as its waking vector"), std::string::npos) << outcome.report;
}

TEST_P(Sleep, AllProcessorsSleep) {
  const Outcome outcome = run(
      two_sleepers(), [](Domain& domain) { domain.wake(); }, 2);
  EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
  EXPECT_EQ(console_, "swm");
}

TEST_P(Sleep, ItMayBePausedMeanwhileAndBeReset) {
  const Outcome outcome = run(sleeper(), [](Domain& domain) {
    domain.pause();
    domain.wake();
    EXPECT_TRUE(domain.paused());
    domain.reset();
  });
  EXPECT_EQ(outcome.ending, Ending::reset);
  EXPECT_EQ(console_, "s");
}

/// A SECS in the first section whose child lies in the second: it goes after it.
TEST_P(Sleep, NothingIsLeftInTheEpc) {
  auto& impl = package_.impl();
  for (const auto& [index, type] :
       {std::pair{0u, arch::PageType::secs}, {200u, arch::PageType::reg}, {255u, arch::PageType::va}}) {
    impl.epcm(index).type = type;
    impl.epcm(index).valid = true;
  }
  impl.epcm(200).secs = 0;
  impl.epcm(0).children = 1;
  const Outcome outcome = run(sleeper(), [&](Domain& domain) {
    for (u32 page = 0; page < 256; ++page) EXPECT_FALSE(impl.epcm(page).valid) << page;
    domain.wake();
  });
  EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
}

TEST_P(Sleep, APageThatCannotBeRemovedEndsIt) {
  silicon::Package package({.epc = epc, .faulty_frames = {arch::Mfn{501}}});
  DomainSpec spec = spec_of(sleeper(), GetParam());
  spec.map = *platform::make_memory_map(u64{16} << 20, u64{1} << 20, 40);
  auto domain = Domain::create(package, std::move(spec), epc);
  ASSERT_TRUE(domain) << domain.error();
  RunOptions options;
  options.timeout = std::chrono::seconds(60);
  const Outcome outcome = (*domain)->run(options);
  EXPECT_EQ(outcome.ending, Ending::crashed);
  EXPECT_NE(outcome.report.find("1 of its EPC pages cannot be removed"), std::string::npos) << outcome.report;
}

INSTANTIATE_TEST_SUITE_P(Clocks, Sleep, testing::Values(ClockMode::deterministic, ClockMode::host),
                         [](const auto& tested) { return tested.param == ClockMode::host ? "Host" : "Deterministic"; });

}  // namespace
}  // namespace cloister::hypervisor
