// Device memory, the EPC, holes and tables used in ways that they are not made for: page tables that point at
// themselves or at devices, descriptor tables in MMIO, wild APIC and IOAPIC registers, huge REP counts.
#include "hostile.hpp"

namespace {

constexpr auto k = Mode::kernel64;
constexpr u64 test_va = window_va + 0x100000;

/// Physical places of every kind: RAM, APICs, holes, the top, the EPC if there is one.
u64 place(Random& random) {
  const cpu::Cpuid r = cpu::cpuid(0x12, 2);
  const u64 epc = (u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000);
  switch (random.below(8)) {
    case 0: return 0xfee0'0000;
    case 1: return 0xfec0'0000;
    case 2: return epc + random.below(1024) * 4096;
    case 3: return 0xd000'0000 + random.below(4096) * 4096;
    case 4: return (random.next() & 0x7f'ffff'f000);
    case 5: return 0xe0000;
    case 6: return (200ul << 20) + random.below(1024) * 4096;
    default: return new_frame();
  }
}

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

// Every kind of access to MMIO and to holes: strings, SSE, locked, x87, over page ends.
CASE(instructions_on_devices) {
  Random random(12);
  static const Code codes[] = {
      CODE("mov rax, [rbx]"),
      CODE("mov [rbx], rax"),
      CODE("lock xadd [rbx], rax"),
      CODE("lock cmpxchg16b [rbx]"),
      CODE("movups xmm0, [rbx]"),
      CODE("movups [rbx], xmm0"),
      CODE("fld tbyte ptr [rbx]"),
      CODE("fxsave [rbx]"),
      CODE("fxrstor [rbx]"),
      CODE("rep movsb"),
      CODE("rep stosq"),
      CODE("push [rbx]"),
      CODE("mov rsp, rbx; push rax"),
      CODE("call [rbx]"),
      CODE("jmp rbx"),
      CODE("bts [rbx], rax"),
      CODE("sgdt [rbx]"),
      CODE("lgdt [rbx]"),
      CODE("lidt [rbx]"),
      CODE("xchg [rbx], al"),
      CODE("cmpsb"),
      CODE("repe cmpsq"),
      CODE("repne scasb"),
      CODE("enter 16, 31"),
      CODE("mov rsp, rbx; iretq"),
      CODE("maskmovdqu xmm0, xmm1"),
      CODE("clflush [rbx]"),
      CODE("ldmxcsr [rbx]"),
      CODE("crc32 rax, qword ptr [rbx]"),
      CODE("aesenc xmm0, [rbx]"),
  };
  constexpr unsigned count = sizeof codes / sizeof codes[0];
  for (unsigned i = 0; i < 3000; i++) {
    const u64 first = place(random), second = place(random);
    map(test_va, first, pte::p | pte::w);
    map(test_va + 0x1000, second, pte::p | pte::w);
    const u64 offset = random.below(3) ? random.below(0x1000) : 0xff0 + random.below(32);
    run(k, codes[random.below(count)],
        {.rax = random.wild(),
         .rcx = random.below(64),
         .rdx = random.wild(),
         .rbx = test_va + offset,
         .rsi = test_va + offset,
         .rdi = test_va + random.below(0x2000)});
    const cpu::TableRegister own{1023, reinterpret_cast<u64>(gdt)};
    asm volatile("lgdt %0" ::"m"(own));
    load_idt();
    if (i % 64 == 63) reset_machine();
  }
  expect("alive", 1, 1);
}

// Page tables of wild entries below a part of the address space that the payload does not live in.
CASE(wild_page_tables) {
  Random random(13);
  constexpr u64 far = u64{7} << 39;
  for (unsigned i = 0; i < 3000; i++) {
    map(far, new_frame(), pte::p | pte::w | pte::u);
    const unsigned level = 1 + static_cast<unsigned>(random.below(4));
    u64 entry = random.below(2) ? random.wild() : (place(random) | (random.next() & 0x8000'0000'0000'0fff));
    *entry_of(far, level) = entry;
    cpu::flush_tlb();
    const Code codes[] = {CODE("mov rax, [rbx]"), CODE("mov [rbx], rax"), CODE("jmp rbx"),
                          CODE("lock inc qword ptr [rbx]")};
    const Mode mode = random.below(2) ? k : Mode::user64;
    run(mode, codes[random.below(4)], {.rax = random.next(), .rbx = far + random.below(0x2000)});
    *entry_of(far, 4) = 0;
    cpu::flush_tlb();
    if (i % 64 == 63) reset_machine();
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
    va = (va << 12) | (2048 + random.below(2040));
    const u64 v = random.below(4) ? root | pte::p | pte::w : random.wild();
    attempt([=] { at(va) = v; });
    attempt([=] { [[maybe_unused]] u64 value = at<volatile u64>(va); });
    if (i % 16 == 15) cpu::flush_tlb();
  }
  expect("alive", 1, 1);
}

// A CR3 that names a device, a hole or the EPC: whatever follows is a fault whose handler cannot be fetched; so only
// through a table that maps the payload's own code as well, except that the walk sets A bits in those places.
CASE(tables_in_devices) {
  Random random(15);
  constexpr u64 far = u64{7} << 39;
  for (unsigned i = 0; i < 500; i++) {
    map(far, new_frame(), pte::p | pte::w);
    const unsigned level = 2 + static_cast<unsigned>(random.below(3));
    *entry_of(far, level) = place(random) | pte::p | pte::w | pte::u;
    cpu::flush_tlb();
    run(k, CODE("mov rax, [rbx]"), {.rbx = far});
    run(k, CODE("mov [rbx], rax"), {.rbx = far});
    *entry_of(far, 4) = 0;
    if (i % 64 == 63) reset_machine();
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
