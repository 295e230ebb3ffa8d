// Every kind of instruction on device memory and holes. A host may end a domain that does so with an instruction it
// does not emulate.
#include "hostile.hpp"

namespace {
constexpr auto k = Mode::kernel64;
constexpr u64 test_va = window_va + 0x100000;
}  // namespace

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
