// Domains of several processors: starting one as a machine's firmware and kernel do, and what they see of each other.
#include <gtest/gtest.h>

#include "guests.hpp"
#include "silicon/silicon.hpp"

// The first processor runs 32-bit code at 1 MiB. It copies the second one's real-mode code to 0x8000 and starts it by
// INIT and SIPI. Words that both use lie at 0x9000, code that one writes and the other runs at 0xa000.
asm(R"(
  .pushsection .rodata
  .code32

  .set apic, 0xfee00000
  .set shared, 0x9000
  .set adder, 0xa000
  .set idt, 0xb000
  .set rounds, 200
  .set increments, 30000

  .global guest_two_processors, guest_two_processors_end
  .balign 16
guest_two_processors:
    mov $0x100000 + second - guest_two_processors, %esi
    mov $0x8000, %edi
    mov $second_end - second, %ecx
    rep movsb
    movl $0xb8, adder                   # mov $0, %eax
    movb $0xc3, adder + 5               # ret
    movl $0x1ff, apic + 0xf0            # spurious vector: the APIC is on
    movl $1 << 24, apic + 0x310
    movl $0x4500, apic + 0x300          # INIT
    movl $0x4608, apic + 0x300          # SIPI, page 8, twice as real machines want it
    movl $0x4608, apic + 0x300
1:  pause
    cmpl $1, shared                     # it may be further already
    jb 1b

    mov $increments, %ecx               # both count at the same time
1:  lock incl shared + 8
    dec %ecx
    jnz 1b
1:  pause
    cmpl $2, shared
    jne 1b

    mov $1, %ecx                        # the other one runs what this one writes
1:  mov %ecx, adder + 1
2:  incl adder + 0x800                  # data in the page of the code
    pause
    cmp %ecx, shared + 12
    jne 2b
    inc %ecx
    cmp $rounds + 1, %ecx
    jne 1b

    movl $1 << 24, apic + 0x310
    movl $0x4040, apic + 0x300          # vector 0x40 to the other, which is halted or will be
1:  pause
    cmpl $3, shared
    jne 1b

    xor %ebx, %ebx                      # a bit for each thing that was as it should be
    cmpl $1, shared + 4                 # its APIC ID by CPUID
    sete %al
    or %al, %bl
    cmpl $2 * increments, shared + 8
    sete %al
    shl $1, %al
    or %al, %bl
    cmpw $0x800, shared + 16            # CS after SIPI
    sete %al
    shl $2, %al
    or %al, %bl
    mov %bl, %al
    add $'0', %al
    mov $0x3f8, %dx
    out %al, %dx
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx

  .code16
second:
    mov %cs, %ax
    mov %ax, %ds
    mov %ax, %bx
    lidtl second_idtr - second
    lgdtl second_gdtr - second
    smsw %ax
    or $1, %ax
    lmsw %ax
    ljmpl $8, $0x8000 + second_protected - second
  .code32
second_protected:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x8000, %esp
    mov %bx, shared + 16
    mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %ebx, shared + 4
    movl $0x00080000 + 0x8000 + second_interrupt - second, idt + 0x40 * 8
    movl $0x8e00, idt + 0x40 * 8 + 4
    movl $0x1ff, apic + 0xf0
    movl $1, shared

    mov $increments, %ecx
1:  lock incl shared + 8
    dec %ecx
    jnz 1b
    movl $2, shared

1:  mov $adder, %eax
    call *%eax
    mov %eax, shared + 12
    cmp $rounds, %eax
    jne 1b
    sti
1:  hlt
    jmp 1b
second_interrupt:
    movl $0, apic + 0xb0
    movl $3, shared
    iret
second_idtr:
    .word 0x40 * 8 + 7
    .long idt
second_gdtr:
    .word 23
    .long 0x8000 + second_gdt - second
    .balign 8
second_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
second_end:
guest_two_processors_end:

  .global guest_nobody_left, guest_nobody_left_end
  .balign 16
guest_nobody_left:
    movw $0xf4fa, 0x8000                # cli, hlt
    movl $0x1ff, apic + 0xf0
    movl $0x4500, apic + 0x300          # with a shorthand: all but this one
    movl $0xc4500, apic + 0x300
    movl $0xc4608, apic + 0x300
    cli
    hlt
guest_nobody_left_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(two_processors)
CLOISTER_GUEST(nobody_left)

struct Seen {
  std::string console;
  Outcome outcome;
};

Seen run(std::span<const u8> code, silicon::ClockMode clock, u32 vcpus) {
  Seen seen;
  silicon::Package package({});
  DomainSpec spec = spec_of(code, clock);
  spec.vcpus = vcpus;
  auto domain = Domain::create(package, std::move(spec), {});
  if (!domain) {
    ADD_FAILURE() << domain.error();
    return seen;
  }
  RunOptions options;
  options.timeout = std::chrono::seconds(60);
  options.console_out = [&seen](std::span<const u8> bytes) { seen.console.append(bytes.begin(), bytes.end()); };
  seen.outcome = (*domain)->run(options);
  return seen;
}

class Processors : public testing::TestWithParam<silicon::ClockMode> {};
INSTANTIATE_TEST_SUITE_P(Clocks, Processors,
                         testing::Values(silicon::ClockMode::host, silicon::ClockMode::deterministic),
                         [](const auto& clock) {
                           return clock.param == silicon::ClockMode::host ? "host" : "deterministic";
                         });

TEST_P(Processors, StartCountRunEachOthersCodeAndInterrupt) {
  const Seen seen = run(two_processors(), GetParam(), 2);
  EXPECT_EQ(seen.outcome.ending, Ending::powered_off) << seen.outcome.report;
  EXPECT_EQ(seen.console, "7");
}

TEST_P(Processors, AreHaltedForGoodOnlyWhenAllAre) {
  const Seen seen = run(nobody_left(), GetParam(), 3);
  EXPECT_EQ(seen.outcome.ending, Ending::halted);
  EXPECT_NE(seen.outcome.report.find("halted for good: interrupts are off"), std::string::npos) << seen.outcome.report;
}

TEST(ProcessorsInTurns, RetireTheSameInstructionsEachTime) {
  const auto once = [] { return run(two_processors(), silicon::ClockMode::deterministic, 2).outcome.instructions; };
  EXPECT_EQ(once(), once());
}

TEST(ProcessorsLimit, IsADomainsNotTheProcessors) {
  silicon::Package package({});
  for (const u32 vcpus : {0u, most_vcpus + 1}) {
    DomainSpec spec = spec_of(two_processors());
    spec.vcpus = vcpus;
    EXPECT_FALSE(Domain::create(package, std::move(spec), {})) << vcpus;
  }
}

}  // namespace
}  // namespace cloister::hypervisor
