// What is done to a running domain from outside: pause, the ACPI power button, NMI, reset.
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "guests.hpp"
#include "host/fd.hpp"
#include "platform/power.hpp"
#include "silicon/silicon.hpp"

// Routes the power button's pin to vector 0x41, prints one line without an end until it finds the vector in the local
// APIC's IRR (interrupts stay off), then prints "b" and powers the machine off.
asm(R"(
  .pushsection .rodata
  .code32

  .set apic, 0xfee00000
  .set ioapic, 0xfec00000

  .global guest_listener, guest_listener_end
guest_listener:
    movl $0x1ff, apic + 0xf0            # spurious vector: the APIC is on
    movl $0x22, ioapic                  # redirection of pin 9, the SCI: level, fixed, vector 0x41
    movl $0x8041, ioapic + 0x10
    mov $0x60a, %dx                     # PM1 enable: PWRBTN_EN
    mov $0x100, %ax
    out %ax, %dx
    mov $0x3f8, %dx
1:  mov $'.', %al
    out %al, %dx
    mov apic + 0x220, %ebx              # IRR of vectors 0x40 to 0x5f
    test $2, %ebx
    jz 1b
    mov $'b', %al
    out %al, %dx
    mov $0x605, %dx
    mov $0x34, %al                      # SLP_EN, S5
    out %al, %dx
1:  hlt
    jmp 1b
guest_listener_end:

# The same, and it prints "j" and powers the machine off if its TSC has jumped by more than 0.7 s from one look to the
# next. Whether the button was pressed is looked at before the TSC is.
  .global guest_watcher, guest_watcher_end
guest_watcher:
    movl $0x1ff, apic + 0xf0
    movl $0x22, ioapic
    movl $0x8041, ioapic + 0x10
    mov $0x60a, %dx
    mov $0x100, %ax
    out %ax, %dx
    mov $0x3f8, %dx
    mov $'.', %al
    out %al, %dx
    rdtsc
    mov %eax, %esi
1:  mov apic + 0x220, %ebx
    rdtsc
    mov %eax, %ecx
    sub %esi, %ecx
    mov %eax, %esi
    cmp $700000000, %ecx
    mov $'j', %al
    ja 2f
    test $2, %ebx
    jz 1b
    mov $'b', %al
2:  mov $0x3f8, %dx
    out %al, %dx
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
1:  hlt
    jmp 1b
guest_watcher_end:

# The second processor prints "r" and is halted, with interrupts off; it prints "a" for each NMI. The first one is halted
# with interrupts on; its NMI handler prints "<", waits for the power button, which is an interrupt as above, prints ">"
# and returns. The button's interrupt prints "i" at first, then "b", and powers the machine off.
  .set idt, 0xb000
  .set presses, 0x9000

  .global guest_nmi_listener, guest_nmi_listener_end
  .balign 16
guest_nmi_listener:
    lgdt 0x100000 + first_gdtr - guest_nmi_listener
    ljmp $8, $0x100000 + 1f - guest_nmi_listener
1:  mov $16, %eax
    mov %eax, %ss
    mov $0x7000, %esp
    movl $0x00080000 + first_nmi - guest_nmi_listener, idt + 2 * 8
    movl $0x00108e00, idt + 2 * 8 + 4
    movl $0x00080000 + first_button - guest_nmi_listener, idt + 0x41 * 8
    movl $0x00108e00, idt + 0x41 * 8 + 4
    lidt 0x100000 + first_idtr - guest_nmi_listener
    movl $0x1ff, apic + 0xf0
    movl $0x22, ioapic
    movl $0x8041, ioapic + 0x10
    mov $0x60a, %dx
    mov $0x100, %ax
    out %ax, %dx
    mov $0x100000 + second - guest_nmi_listener, %esi
    mov $0x8000, %edi
    mov $second_end - second, %ecx
    rep movsb
    movl $0x08000000 + second_nmi - second, 2 * 4    # its interrupt table is real mode's
    movl $1 << 24, apic + 0x310
    movl $0x4500, apic + 0x300          # INIT
    movl $0x4608, apic + 0x300          # SIPI, page 8
1:  sti
    hlt
    jmp 1b
first_nmi:
    mov $0x3f8, %dx
    mov $'<', %al
    out %al, %dx
1:  mov apic + 0x220, %ebx
    test $2, %ebx
    jz 1b
    mov $'>', %al
    out %al, %dx
    iret
first_button:
    mov $0x608, %dx                     # PM1 status: PWRBTN_STS
    mov $0x100, %ax
    out %ax, %dx
    movl $0, apic + 0xb0
    mov $0x3f8, %dx
    incl presses
    cmpl $2, presses
    je 1f
    mov $'i', %al
    out %al, %dx
    iret
1:  mov $'b', %al
    out %al, %dx
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
1:  hlt
    jmp 1b
first_idtr:
    .word 0x41 * 8 + 7
    .long idt
first_gdtr:
    .word 23
    .long 0x100000 + first_gdt - guest_nmi_listener
    .balign 8
first_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff

  .code16
second:
    mov $0x6000, %sp
    mov $0x3f8, %dx
    mov $'r', %al
    out %al, %dx
1:  hlt
    jmp 1b
second_nmi:
    mov $'a', %al
    out %al, %dx
    iret
second_end:
guest_nmi_listener_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(listener)
CLOISTER_GUEST(watcher)
CLOISTER_GUEST(nmi_listener)

DomainSpec spec_of(std::span<const u8> code, silicon::ClockMode clock, u32 vcpus) {
  DomainSpec spec = hypervisor::spec_of(code, clock);
  spec.vcpus = vcpus;
  return spec;
}

/// A domain that runs on a thread of its own.
class Listener {
 public:
  explicit Listener(silicon::ClockMode clock, std::span<const u8> code = listener(), u32 vcpus = 1)
      : Listener(spec_of(code, clock, vcpus)) {}
  explicit Listener(DomainSpec spec) : domain_(std::move(*Domain::create(package_, std::move(spec), {}))) {
    int keyboard[2];  // nothing is typed, but it could be: the guest may wait for ever
    EXPECT_EQ(::pipe(keyboard), 0);
    for (unsigned i = 0; i < 2; ++i) keyboard_[i] = Fd(keyboard[i]);
    options_.console_in = keyboard_[0].get();
    options_.console_out = [this](std::span<const u8> bytes) {
      const std::lock_guard lock(mutex_);
      output_.append(bytes.begin(), bytes.end());
      printed_.notify_all();
    };
    options_.shutdown = &shutdown_;
    options_.counts = &counts_;
    thread_ = std::jthread([this] { outcome_ = domain_->run(options_); });
    wait_for_output(1);
  }

  Domain& domain() { return *domain_; }
  void shut_down() { shutdown_ = true; }
  std::size_t printed() {
    const std::lock_guard lock(mutex_);
    return output_.size();
  }
  u64 io_exits() const { return counts_.exits[static_cast<std::size_t>(vmx::ExitReason::io)]; }
  void wait_for_output(std::size_t bytes) {
    std::unique_lock lock(mutex_);
    printed_.wait(lock, [&] { return output_.size() >= bytes; });
  }
  Outcome outcome() {
    thread_.join();
    return outcome_;
  }
  /// After outcome().
  const std::string& output() const { return output_; }

 private:
  std::mutex mutex_;
  std::condition_variable printed_;
  std::string output_;
  Fd keyboard_[2];
  silicon::Package package_{silicon::Package::Config{}};
  std::unique_ptr<Domain> domain_;
  RunOptions options_;
  RunCounts counts_{};
  std::atomic<bool> shutdown_{false};
  Outcome outcome_;
  std::jthread thread_;
};

class Control : public testing::TestWithParam<silicon::ClockMode> {
 protected:
  Listener guest_{GetParam()};
};

TEST_P(Control, NothingRunsWhilePaused) {
  // Another guest, which nobody pauses, shows each time that the host had time for this one too.
  Listener other(GetParam());
  for (unsigned i = 0; i < 5; ++i) {
    guest_.domain().pause();
    EXPECT_TRUE(guest_.domain().paused());
    const std::size_t before = guest_.printed();
    EXPECT_EQ(before + 1, guest_.io_exits());  // all has come out; PM1 enable is the one that printed nothing
    other.wait_for_output(other.printed() + 2000);
    EXPECT_EQ(guest_.printed(), before);
    EXPECT_EQ(before + 1, guest_.io_exits());
    guest_.domain().unpause();
    EXPECT_FALSE(guest_.domain().paused());
    guest_.wait_for_output(before + 100);
  }
  for (Listener* const each : {&guest_, &other}) {
    each->domain().reset();
    EXPECT_EQ(each->outcome().ending, Ending::reset);
  }
}

TEST_P(Control, ResetReachesAPausedDomain) {
  guest_.domain().pause();
  guest_.domain().reset();
  EXPECT_EQ(guest_.outcome().ending, Ending::reset);
}

// ACPI 6.4, 4.8.2.2.1.1: the button is a fixed event, whose interrupt is the SCI.
TEST_P(Control, ThePowerButtonRaisesItsInterrupt) {
  guest_.domain().press_power_button();
  EXPECT_EQ(guest_.outcome().ending, Ending::powered_off);
  EXPECT_TRUE(guest_.output().ends_with('b')) << guest_.output().size();
}

TEST_P(Control, ShutdownPressesTheButtonOfAGuestThatListens) {
  guest_.shut_down();
  EXPECT_EQ(guest_.outcome().ending, Ending::powered_off);
  EXPECT_TRUE(guest_.output().ends_with('b')) << guest_.output().size();
}

// SDM vol. 3A, 6.7.1: an NMI needs no IF, ends HLT, and is blocked until the IRET of the one in service.
TEST_P(Control, AnNmiRunsItsHandlerOnceAndIsNotNested) {
  Listener guest(GetParam(), nmi_listener(), 2);
  std::string expected = "r";
  const auto answers = [&](const char* with) {
    expected += with;
    guest.wait_for_output(expected.size());
  };
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(guest.domain().send_nmi(1));
    answers("a");
  }
  EXPECT_TRUE(guest.domain().send_nmi(0));
  answers("<");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(guest.domain().send_nmi(0));  // they wait, as one
  guest.domain().press_power_button();
  answers("><>i");
  guest.domain().pause();
  EXPECT_TRUE(guest.domain().send_nmi(0));
  guest.domain().press_power_button();
  guest.domain().unpause();
  const Outcome outcome = guest.outcome();
  EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
  EXPECT_EQ(guest.output(), expected + "<>b");
  guest_.domain().reset();
}

TEST(Nmi, GoesToAProcessorThatRuns) {
  silicon::Package package({});
  const auto domain = Domain::create(package, spec_of(nmi_listener(), silicon::ClockMode::host, 2), {});
  ASSERT_TRUE(domain) << domain.error();
  EXPECT_TRUE((*domain)->send_nmi(0));
  EXPECT_EQ((*domain)->send_nmi(1).error(), "the guest has not started vCPU 1");
  EXPECT_EQ((*domain)->send_nmi(2).error(), "there is no vCPU 2: the last is 1");
}

INSTANTIATE_TEST_SUITE_P(Clocks, Control, testing::Values(silicon::ClockMode::host, silicon::ClockMode::deterministic),
                         [](const auto& tested) {
                           return tested.param == silicon::ClockMode::host ? "host" : "deterministic";
                         });

/// A pause is time that passes, for what other machines see of the guest; one that is longer than Linux's watchdogs
/// bear is not (docs/configuration.md, vsock: "The guest's date").
TEST(Control, ALongPauseIsNoTimeForTheGuest) {
  for (const bool is_long : {false, true}) {
    DomainSpec spec = spec_of(watcher(), silicon::ClockMode::host, 1);
    spec.longest_pause = is_long ? vmx::tsc_hz / 2 : 100 * vmx::tsc_hz;
    Listener guest(std::move(spec));
    guest.domain().pause();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    guest.domain().unpause();
    guest.domain().press_power_button();
    EXPECT_EQ(guest.outcome().ending, Ending::powered_off);
    EXPECT_EQ(guest.output(), is_long ? ".b" : ".j");
  }
}

}  // namespace
}  // namespace cloister::hypervisor
