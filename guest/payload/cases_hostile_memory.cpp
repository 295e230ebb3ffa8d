// Wild APIC and IOAPIC registers, page tables that point at themselves, huge REP counts, hypercalls and enclave
// instructions with wild operands.
#include "hostile.hpp"

namespace {

/// Bits of an entry that points into RAM.
constexpr u64 in_ram = 0x8000'0000'1fff'ffff;

constexpr auto k = Mode::kernel64;
constexpr u64 test_va = window_va + 0x100000;

}  // namespace

CASE(wild_apic_registers) {
  Random random(11);
  for (unsigned i = 0; i < 20000; i++) {
    const u64 reg = 0xfee0'0000 + random.below(0x1000);
    const u32 v = static_cast<u32>(random.wild());
    if ((reg & 0xff0) == 0x300) continue;  // INIT and NMI to itself are tried below
    if (random.below(2)) {
      attempt([=] { at<volatile u32>(reg) = v; });
    } else {
      attempt([=] { [[maybe_unused]] u32 value = at<volatile u32>(reg); });
    }
  }
  for (unsigned i = 0; i < 5000; i++) {
    const u64 reg = 0xfec0'0000 + random.below(0x1000);
    const u32 v = static_cast<u32>(random.wild());
    attempt([=] { at<volatile u32>(reg) = v; });
    attempt([=] { [[maybe_unused]] u64 value = at<volatile u64>(reg); });
  }
  expect("alive", 1, 1);
}

// A table that is its own entry at every level, written through itself.
CASE(self_pointing_tables) {
  const u64 root = cpu::cr3() & pte::address;
  for (unsigned slot = 256; slot < 512; slot++) at(root + slot * 8) = root | pte::p | pte::w;
  cpu::flush_tlb();
  Random random(14);
  for (unsigned i = 0; i < 2000; i++) {
    u64 va = 0xffff;
    for (int l = 0; l < 4; l++) va = (va << 9) | (256 + random.below(256));
    va = (va << 12) | (2048 + random.below(256) * 8);
    const u64 v = random.below(4) ? root | pte::p | pte::w : random.wild() & in_ram;
    attempt([=] { at(va) = v; });
    attempt([=] { [[maybe_unused]] u64 value = at<volatile u64>(va); });
    if (i % 16 == 15) cpu::flush_tlb();
  }
  expect("alive", 1, 1);
}

CASE(huge_repetitions) {
  map(window_va, new_frame(), pte::p | pte::w | pte::u);
  line("stosb");
  Trap t = run(Mode::user64, CODE("rep stosb"), {.rcx = ~0ul, .rdi = window_va});
  expect_page_fault(t, 6, window_va + 0x1000);
  expect("rcx", t.gpr[1], ~0ul - 0x1000);
  line("movsq_backwards");
  t = run(Mode::user64, CODE("std; rep movsq"), {.rcx = ~0ul, .rsi = window_va + 0x800, .rdi = window_va + 0xff8});
  expect("vector", t.vector, vec::pf);
  line("scasb");
  t = run(Mode::user64, CODE("repne scasb"), {.rax = 0x77, .rcx = ~0ul, .rdi = window_va});
  expect("vector", t.vector, vec::pf);
}

// Hypercalls with wild registers: unknown numbers are errors.
CASE(hypercalls) {
  Random random(16);
  for (unsigned i = 0; i < 5000; i++) {
    run(k, CODE("vmcall"),
        {.rax = random.wild(),
         .rcx = random.wild(),
         .rdx = random.wild(),
         .rbx = random.wild(),
         .rsi = random.wild(),
         .rdi = random.wild()});
  }
  run(Mode::user64, CODE("vmcall"), {.rax = 1});
  expect("alive", 1, 1);
}

// ENCLS and ENCLU with every leaf and wild operands.
CASE(enclave_instructions) {
  Random random(17);
  for (unsigned i = 0; i < 5000; i++) {
    map(test_va, place(random), pte::p | pte::w);
    const u64 near = test_va + (random.below(2) ? 0 : random.below(0x1000));
    Regs regs{.rax = random.below(4) ? random.below(0x20) : random.wild(),
              .rcx = near,
              .rdx = random.wild(),
              .rbx = random.below(2) ? near : random.wild()};
    run(k, CODE(".byte 0x0f, 0x01, 0xcf"), regs);
    run(Mode::user64, CODE(".byte 0x0f, 0x01, 0xd7"), regs);
  }
  expect("alive", 1, 1);
}
