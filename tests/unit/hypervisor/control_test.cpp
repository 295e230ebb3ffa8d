// What is done to a running domain from outside: pause, the ACPI power button, reset.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "guests.hpp"
#include "platform/power.hpp"
#include "silicon/silicon.hpp"

// Routes the power button's pin to vector 0x41, prints lines until it finds the vector in the local APIC's IRR
// (interrupts stay off), then prints "b" and powers the machine off.
asm(R"(
  .pushsection .rodata
  .code32

  .set apic, 0xfee00000
  .set ioapic, 0xfec00000

  .global guest_listener, guest_listener_end
guest_listener:
    movl $0x1ff, apic + 0xf0            # spurious vector: the APIC is on
    movl $0x24, ioapic                  # redirection of pin 10: edge, fixed, vector 0x41
    movl $0x41, ioapic + 0x10
    mov $0x3f8, %dx
1:  mov $'.', %al
    out %al, %dx
    mov $'\n', %al
    out %al, %dx
    mov apic + 0x220, %ebx              # IRR of vectors 0x40 to 0x5f
    test $2, %ebx
    jz 1b
    mov $'b', %al
    out %al, %dx
    mov $0x600, %dx
    mov $0x34, %al                      # SLP_EN, S5
    out %al, %dx
1:  hlt
    jmp 1b
guest_listener_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(listener)

/// A domain that runs on a thread of its own.
class Listener {
 public:
  explicit Listener(silicon::ClockMode clock)
      : domain_(std::move(*Domain::create(package_, spec_of(listener(), clock), {}))) {
    options_.console_out = [this](std::span<const u8> bytes) {
      const std::lock_guard lock(mutex_);
      output_.append(bytes.begin(), bytes.end());
      printed_.notify_all();
    };
    options_.shutdown = &shutdown_;
    thread_ = std::jthread([this] { outcome_ = domain_->run(options_); });
    wait_for_output(1);
  }

  Domain& domain() { return *domain_; }
  void shut_down() { shutdown_ = true; }
  std::size_t printed() {
    const std::lock_guard lock(mutex_);
    return output_.size();
  }
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
  silicon::Package package_{silicon::Package::Config{}};
  std::unique_ptr<Domain> domain_;
  RunOptions options_;
  std::atomic<bool> shutdown_{false};
  Outcome outcome_;
  std::jthread thread_;
};

class Control : public testing::TestWithParam<silicon::ClockMode> {
 protected:
  Listener guest_{GetParam()};
};

TEST_P(Control, NothingRunsWhilePaused) {
  guest_.domain().pause();
  EXPECT_TRUE(guest_.domain().paused());
  // Another guest, which nobody pauses, shows each time that the host had time for this one too.
  Listener other(GetParam());
  const auto let_other_run = [&] { other.wait_for_output(other.printed() + 2000); };
  let_other_run();  // what was printed before comes out
  const std::size_t before = guest_.printed();
  let_other_run();
  EXPECT_EQ(guest_.printed(), before);
  guest_.domain().unpause();
  EXPECT_FALSE(guest_.domain().paused());
  guest_.wait_for_output(before + 100);
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

// ACPI 6.4, 4.8.2.2.1.2 and 5.6.9: the button is an interrupt of the generic event device.
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

INSTANTIATE_TEST_SUITE_P(Clocks, Control, testing::Values(silicon::ClockMode::host, silicon::ClockMode::deterministic),
                         [](const auto& tested) {
                           return tested.param == silicon::ClockMode::host ? "host" : "deterministic";
                         });

}  // namespace
}  // namespace cloister::hypervisor
