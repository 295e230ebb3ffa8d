// Whole domains on the software processor: what a guest's instruction does when it exits, seen from the guest's serial
// port and the domain's ending.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "guests.hpp"
#include "silicon/silicon.hpp"

// Each guest writes what it found to the serial port and powers off by ACPI's sleep control register: SLP_EN and
// type 5.
asm(R"(
  .pushsection .rodata
  .code32

  .macro print
    mov $0x3f8, %dx
    out %al, %dx
  .endm
  .macro power_off
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
  .endm
  .macro guest name
    .global guest_\name, guest_\name\()_end
    .balign 16
    guest_\name:
  .endm
  .macro end name
    guest_\name\()_end:
  .endm

  guest hello
    mov $'h', %al
    print
    mov $'i', %al
    print
    power_off
  end hello

  guest start_state
    mov (%ebx), %eax        # hvm_start_info's magic
    cmp $0x336ec578, %eax
    sete %al
    add $'0', %al
    print
    smsw %eax
    and $1, %al             # protected mode
    add $'0', %al
    print
    power_off
  end start_state

  guest string_io
    mov $0x100000 + string_io_text - guest_string_io, %esi
    mov $5, %ecx
    mov $0x3f8, %dx
    rep outsb
    mov %cl, %al
    add $'0', %al
    print
    mov $0x108000, %edi     # nobody answers at port 0x1000
    movl $0, (%edi)
    mov $0x1000, %dx
    insw
    mov 0x108001, %al
    sub $0xff - '0', %al
    print
    mov 0x108002, %al
    add $'0', %al
    print
    power_off
  string_io_text:
    .ascii "hello"
  end string_io

  guest cpuid
    mov $1, %eax
    cpuid
    cmp $0x1234, %eax
    sete %al
    add $'0', %al
    print
    mov $0x12, %eax         # no SGX: zeros
    xor %ecx, %ecx
    cpuid
    or %ebx, %eax
    or %ecx, %eax
    or %edx, %eax
    sete %al
    add $'0', %al
    print
    power_off
  end cpuid

  guest msr
    mov $0xfe, %ecx         # IA32_MTRRCAP
    rdmsr
    cmp $0x508, %eax
    sete %al
    add $'0', %al
    print
    mov $0x200, %ecx
    mov $6, %eax
    xor %edx, %edx
    wrmsr
    xor %eax, %eax
    rdmsr
    add $'0', %al
    print
    power_off
  end msr

  guest mmio
    mov 0xfee00030, %eax    # local APIC version: 0x10 to 0x15 in the low byte
    shr $4, %al
    add $'0', %al
    print
    movzbl 0xd0000000, %eax # nobody there
    sub $0xff - '0', %al
    print
    movl $1, 0xfec00000     # IOAPIC version register: 0x20
    mov 0xfec00010, %al
    print
    power_off
  end mmio

  guest vmcall
    mov $0x434c0000, %eax
    vmcall
    add $'0', %al
    print
    mov $7, %eax
    vmcall
    cmp $-38, %eax
    sete %al
    add $'0', %al
    print
    power_off
  end vmcall

  guest timer
    lgdt 0x100000 + timer_gdtr - guest_timer
    lidt 0x100000 + timer_idtr - guest_timer
    mov $0x110000, %esp
    mov $0xfee00000, %ebx
    movl $0x1ff, 0xf0(%ebx)   # spurious vector, software enable
    movl $0x40, 0x320(%ebx)   # LVT timer: one-shot, vector 0x40
    movl $0xb, 0x3e0(%ebx)    # divide by 1
    movl $1000, 0x380(%ebx)
    sti
    hlt
    mov $'.', %al
    print
    power_off
  timer_handler:
    mov $'T', %al
    print
    movl $0, 0xb0(%ebx)       # EOI
    iret
  timer_gdtr:
    .word 0x17
    .long 0x100000 + timer_gdt - guest_timer
  timer_idtr:                 # entry 0x40 lies at timer_gate
    .word 0x207
    .long 0x100000 + timer_gate - guest_timer - 0x40 * 8
    .balign 8
  timer_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  timer_gate:
    .word timer_handler - guest_timer, 8, 0x8e00, 0x10
  end timer

  guest clock_interrupt       # the periodic interrupt, by pin 8 of the I/O APIC
    lgdt 0x100000 + clock_gdtr - guest_clock_interrupt
    lidt 0x100000 + clock_idtr - guest_clock_interrupt
    mov $0x110000, %esp
    mov $0xfee00000, %ebx
    movl $0x1ff, 0xf0(%ebx)
    movl $0x20, 0xfec00000
    movl $0x40, 0xfec00010    # edge, fixed, vector 0x40
    mov $0x0a, %al
    out %al, $0x70
    mov $0x23, %al            # 8192 Hz
    out %al, $0x71
    mov $0x0b, %al
    out %al, $0x70
    mov $0x42, %al            # PIE
    out %al, $0x71
    sti
    hlt
    mov $'.', %al
    print
    power_off
  clock_handler:
    mov $'R', %al
    print
    movl $0, 0xb0(%ebx)
    iret
  clock_gdtr:
    .word 0x17
    .long 0x100000 + clock_gdt - guest_clock_interrupt
  clock_idtr:
    .word 0x207
    .long 0x100000 + clock_gate - guest_clock_interrupt - 0x40 * 8
    .balign 8
  clock_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  clock_gate:
    .word clock_handler - guest_clock_interrupt, 8, 0x8e00, 0x10
  end clock_interrupt

  guest clock
    mov $9, %al               # the year, as it is shown; then the next run's
    out %al, $0x70
    in $0x71, %al
    print
    mov $0x99, %al
    out %al, $0x71
    power_off
  end clock

  guest panic
    mov $0x505, %dx
    in %dx, %al
    add $'0', %al
    mov %al, %bl
    mov $2, %al               # a crash kernel goes on
    out %al, %dx
    mov %bl, %al
    print
    mov $0x505, %dx
    mov $1, %al
    out %al, %dx
    mov $'x', %al
    print
    power_off
  end panic

  guest undefined
    ud2
  end undefined

  guest encls
    xor %eax, %eax
    .byte 0x0f, 0x01, 0xcf
  end encls

  guest unknown_msr
    mov $0x12345, %ecx
    rdmsr
  end unknown_msr

  guest halt
    cli
    hlt
  end halt

  guest unwoken
    sti
    hlt
    jmp unwoken_again
  unwoken_again:
    hlt
  end unwoken

  guest spin
    jmp guest_spin
  end spin

  guest device_push
    pushl 0xfee00030
  end device_push

  guest no_memory
    mov $0xd0000000, %eax
    jmp *%eax
  end no_memory

  guest keyboard_reset
    mov $0xfe, %al
    out %al, $0x64
  end keyboard_reset

  guest reset_control
    mov $0x80000006, %eax     # PCI's configuration address: not a reset
    mov $0xcf8, %dx
    out %eax, %dx
    mov $'r', %al
    print
    mov $6, %al
    mov $0xcf9, %dx
    out %al, %dx
  end reset_control

  guest echo
    mov $2, %al               # ready to receive: MCR's RTS
    mov $0x3fc, %dx
    out %al, %dx
    mov $0x3fd, %dx
  echo_wait:
    in %dx, %al
    test $1, %al
    jz echo_wait
    mov $0x3f8, %dx
    in %dx, %al
    out %al, %dx
    power_off
  end echo

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(hello)
CLOISTER_GUEST(start_state)
CLOISTER_GUEST(string_io)
CLOISTER_GUEST(cpuid)
CLOISTER_GUEST(msr)
CLOISTER_GUEST(mmio)
CLOISTER_GUEST(vmcall)
CLOISTER_GUEST(timer)
CLOISTER_GUEST(clock_interrupt)
CLOISTER_GUEST(clock)
CLOISTER_GUEST(panic)
CLOISTER_GUEST(undefined)
CLOISTER_GUEST(encls)
CLOISTER_GUEST(unknown_msr)
CLOISTER_GUEST(halt)
CLOISTER_GUEST(unwoken)
CLOISTER_GUEST(spin)
CLOISTER_GUEST(device_push)
CLOISTER_GUEST(no_memory)
CLOISTER_GUEST(keyboard_reset)
CLOISTER_GUEST(reset_control)
CLOISTER_GUEST(echo)

using silicon::ClockMode;

struct Ended {
  Outcome outcome;
  std::string console;
};

Ended run(std::span<const u8> code, RunOptions options = {}, ClockMode clock = ClockMode::deterministic) {
  silicon::Package package({});
  auto domain = Domain::create(package, spec_of(code, clock), {});
  EXPECT_TRUE(domain) << (domain ? "" : domain.error());
  if (!domain) return {};
  Ended ended;
  options.console_out = [&](std::span<const u8> bytes) { ended.console.append(bytes.begin(), bytes.end()); };
  if (!options.timeout) options.timeout = std::chrono::seconds(60);
  ended.outcome = (*domain)->run(options);
  return ended;
}

void expect_prints(std::span<const u8> code, const std::string& text) {
  for (const ClockMode clock : {ClockMode::deterministic, ClockMode::host}) {
    const Ended ended = run(code, {}, clock);
    EXPECT_EQ(ended.outcome.ending, Ending::powered_off) << ended.outcome.report;
    EXPECT_EQ(ended.console, text);
    EXPECT_EQ(ended.outcome.report, "");
  }
}

void expect_crash(std::span<const u8> code, const std::string& why) {
  const Ended ended = run(code);
  EXPECT_EQ(ended.outcome.ending, Ending::crashed);
  EXPECT_NE(ended.outcome.report.find(why), std::string::npos) << ended.outcome.report;
}

void expect_halt(std::span<const u8> code, const std::string& why) {
  for (const ClockMode clock : {ClockMode::deterministic, ClockMode::host}) {
    const Ended ended = run(code, {}, clock);
    EXPECT_EQ(ended.outcome.ending, Ending::halted);
    EXPECT_NE(ended.outcome.report.find(why), std::string::npos) << ended.outcome.report;
  }
}

TEST(Domain, SerialPortAndPowerOff) { expect_prints(hello(), "hi"); }
TEST(Domain, StartsAsPvhSays) { expect_prints(start_state(), "11"); }
TEST(Domain, StringIo) { expect_prints(string_io(), "hello000"); }
TEST(Domain, CpuidIsThePolicys) { expect_prints(cpuid(), "11"); }
TEST(Domain, MsrsAreTheTables) { expect_prints(msr(), "16"); }
TEST(Domain, DeviceMemory) { expect_prints(mmio(), "10 "); }
TEST(Domain, Hypercalls) { expect_prints(vmcall(), "21"); }
TEST(Domain, ATimerWakesAHaltedProcessor) { expect_prints(timer(), "T."); }

TEST(Domain, TheClocksInterruptWakesAHaltedProcessor) { expect_prints(clock_interrupt(), "R."); }

TEST(Domain, TheClockShowsTheDateOfItsStart) {
  silicon::Package package({});
  DomainSpec spec = spec_of(clock());
  spec.date = {1'735'689'600, 0};  // 2025-01-01
  auto domain = Domain::create(package, spec, {});
  ASSERT_TRUE(domain) << domain.error();
  std::string console;
  RunOptions options;
  options.console_out = [&](std::span<const u8> bytes) { console.append(bytes.begin(), bytes.end()); };
  EXPECT_EQ((*domain)->run(options).ending, Ending::powered_off);
  EXPECT_EQ(console, "\x25");
  // The guest has set the year to 1999's, and the next run starts with that.
  spec.battery = (*domain)->battery();
  domain = Domain::create(package, spec, {});
  ASSERT_TRUE(domain) << domain.error();
  console.clear();
  EXPECT_EQ((*domain)->run(options).ending, Ending::powered_off);
  EXPECT_EQ(console, "\x99");
}

TEST(Domain, AKernelThatSaysItPanickedIsACrash) {
  std::string note;
  RunOptions options;
  options.note = [&note](std::string_view what) { note = what; };
  const Ended ended = run(panic(), options);
  EXPECT_EQ(ended.outcome.ending, Ending::crashed);
  EXPECT_EQ(ended.console, "3") << "the events that are understood, and the guest went on after crash-loaded";
  EXPECT_NE(ended.outcome.report.find("its kernel panicked"), std::string::npos) << ended.outcome.report;
  EXPECT_EQ(note, "its kernel panicked, and goes on with its crash kernel");
}

TEST(Domain, ShutdownEndsAGuestThatDoesNotListen) {
  const std::atomic<bool> shutdown{true};
  for (const ClockMode clock : {ClockMode::deterministic, ClockMode::host}) {
    std::vector<std::string> notes;
    RunOptions options;
    options.shutdown = &shutdown;
    options.shutdown_timeout = std::chrono::seconds(0);
    options.note = [&notes](std::string_view what) { notes.emplace_back(what); };
    EXPECT_EQ(run(spin(), options, clock).outcome.ending, Ending::stopped);
    EXPECT_EQ(notes, std::vector<std::string>{"its power button was pressed"});
  }
}

TEST(Domain, DeterministicRunsRepeat) {
  const Ended first = run(timer()), second = run(timer());
  EXPECT_EQ(first.outcome.instructions, second.outcome.instructions);
  EXPECT_EQ(first.console, second.console);
}

TEST(Domain, TripleFaultIsReportedWithRegistersAndCode) {
  const Ended ended = run(undefined());
  ASSERT_EQ(ended.outcome.ending, Ending::crashed);
  for (const char* part : {"triple fault", "RIP 0000000000100000", "0f 0b", "ud2", "CR0", "last exits"})
    EXPECT_NE(ended.outcome.report.find(part), std::string::npos) << part << "\n" << ended.outcome.report;
}

TEST(Domain, WithoutEpcEnclsIsUndefined) { expect_crash(encls(), "triple fault"); }
TEST(Domain, UnknownMsrFaults) { expect_crash(unknown_msr(), "triple fault"); }
TEST(Domain, HaltWithInterruptsOffIsForGood) { expect_halt(halt(), "halted for good: interrupts are off"); }
TEST(Domain, HaltThatNothingCanEndIsForGood) { expect_halt(unwoken(), "halted for good: no timer"); }
TEST(Domain, AnInstructionThatDevicesDoNotTakeIsNamed) { expect_crash(device_push(), "push ["); }
TEST(Domain, CodeOutsideMemoryIsACrash) { expect_crash(no_memory(), "instruction fetch"); }

TEST(Domain, ResetByKeyboardControllerAndByResetControl) {
  EXPECT_EQ(run(keyboard_reset()).outcome.ending, Ending::reset);
  const Ended ended = run(reset_control());
  EXPECT_EQ(ended.outcome.ending, Ending::reset);
  EXPECT_EQ(ended.console, "r") << "a 32-bit write at 0xCF8 is not a write to the register at 0xCF9";
}

TEST(Domain, TimeLimitAndStopFlagEndASpinningGuest) {
  RunOptions limited;
  limited.timeout = std::chrono::milliseconds(20);
  EXPECT_EQ(run(spin(), limited).outcome.ending, Ending::timed_out);
  EXPECT_EQ(run(spin(), limited, ClockMode::host).outcome.ending, Ending::timed_out);
  const std::atomic<bool> stop{true};
  RunOptions stopped;
  stopped.stop = &stop;
  EXPECT_EQ(run(spin(), stopped).outcome.ending, Ending::stopped);
}

TEST(Domain, ConsoleInputReachesTheSerialPort) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  RunOptions options;
  options.console_in = ends[0];
  const Ended ended = run(echo(), options, ClockMode::host);
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(ended.outcome.ending, Ending::powered_off);
  EXPECT_EQ(ended.console, "x");
}

TEST(Domain, TraceHasOneLineAnEvent) {
  std::string text;
  RunOptions options;
  options.trace = {.exits = true, .msr = true, .io = true, .out = [&text](std::string_view line) { text += line; }};
  EXPECT_EQ(run(msr(), options).outcome.ending, Ending::powered_off);
  EXPECT_NE(text.find("msr rdmsr=0xfe value=0x508"), std::string::npos) << text;
  EXPECT_NE(text.find("msr wrmsr=0x200 value=0x6 done"), std::string::npos) << text;
  EXPECT_NE(text.find("exit rdmsr rip=0x100005"), std::string::npos) << text;
  EXPECT_NE(text.find("io out port=0x605 bytes=1 value=0x34"), std::string::npos) << text;
}

TEST(Domain, CreationFailsWithoutFramesForEpc) {
  silicon::Package package({});
  DomainSpec spec = spec_of(hello());
  spec.map = *platform::make_memory_map(u64{16} << 20, u64{1} << 20, 40);
  const auto domain = Domain::create(package, spec, {});
  ASSERT_FALSE(domain);
  EXPECT_NE(domain.error().find("EPC"), std::string::npos);
}

}  // namespace
}  // namespace cloister::hypervisor
