// What is done to a running domain from outside: pause, the ACPI power button, reset.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "guests.hpp"
#include "platform/power.hpp"

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
class Control : public testing::TestWithParam<silicon::ClockMode> {
 protected:
  Control() : domain_(std::move(*Domain::create(package_, spec_of(listener(), GetParam()), {}))) {
    options_.console_out = [this](std::span<const u8> bytes) {
      const std::lock_guard lock(mutex_);
      output_.append(bytes.begin(), bytes.end());
      printed_.notify_all();
    };
    options_.shutdown = &shutdown_;
    thread_ = std::jthread([this] { outcome_ = domain_->run(options_); });
    wait_for_output(1);
  }

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

TEST_P(Control, NothingRunsWhilePaused) {
  domain_->pause();
  EXPECT_TRUE(domain_->paused());
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // what was printed before comes out
  const std::size_t before = printed();
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(printed(), before);
  domain_->unpause();
  EXPECT_FALSE(domain_->paused());
  wait_for_output(before + 100);
  domain_->reset();
  EXPECT_EQ(outcome().ending, Ending::reset);
}

TEST_P(Control, ResetReachesAPausedDomain) {
  domain_->pause();
  domain_->reset();
  EXPECT_EQ(outcome().ending, Ending::reset);
}

// ACPI 6.4, 4.8.2.2.1.2 and 5.6.9: the button is an interrupt of the generic event device.
TEST_P(Control, ThePowerButtonRaisesItsInterrupt) {
  domain_->press_power_button();
  EXPECT_EQ(outcome().ending, Ending::powered_off);
  EXPECT_TRUE(output_.ends_with('b')) << output_.size();
}

TEST_P(Control, ShutdownPressesTheButtonOfAGuestThatListens) {
  shutdown_ = true;
  EXPECT_EQ(outcome().ending, Ending::powered_off);
  EXPECT_TRUE(output_.ends_with('b')) << output_.size();
}

INSTANTIATE_TEST_SUITE_P(Clocks, Control, testing::Values(silicon::ClockMode::host, silicon::ClockMode::deterministic),
                         [](const auto& tested) {
                           return tested.param == silicon::ClockMode::host ? "host" : "deterministic";
                         });

}  // namespace
}  // namespace cloister::hypervisor
