// Random descriptor tables, IDTs and TSSs, and faults that recurse: gates that point at gates' own memory, a handler
// that faults, stacks that run into nothing. The last cases end in a shutdown more often than not.
#include "hostile.hpp"

namespace {
constexpr auto k = Mode::kernel64, u = Mode::user64;
}

CASE(random_descriptors) {
  Random random(31);
  for (unsigned i = 0; i < 10000; i++) {
    gdt[SCRATCH_SELECTOR / 8] = random.next();
    gdt[SCRATCH_SELECTOR / 8 + 1] = random.below(2) ? 0 : random.next();
    const u64 selector = SCRATCH_SELECTOR | random.below(4);
    at<u64>(data_va) = random.below(2) ? code_va + 0x40 : random.wild();
    at<u16>(data_va + 8) = static_cast<u16>(selector);
    at<u16>(data_va + 4) = static_cast<u16>(selector);
    const Code codes[] = {CODE("mov ds, eax"),
                          CODE("mov ss, eax"),
                          CODE("mov fs, eax"),
                          CODE("lldt ax"),
                          CODE("ltr ax"),
                          CODE("lar ecx, eax; lsl edx, eax; verr ax; verw ax"),
                          CODE("jmp fword ptr [rbx]"),
                          CODE("rex.w call fword ptr [rbx]"),
                          CODE("push rax; push rcx; rex.w retf"),
                          CODE("lss eax, [rbx]")};
    run(random.below(2) ? k : u, codes[random.below(10)], {.rax = selector, .rcx = code_va + 0x40, .rbx = data_va});
    reset_descriptors();
  }
  expect("alive", 1, 1);
}

CASE(random_gates) {
  Random random(32);
  for (unsigned i = 0; i < 10000; i++) {
    idt[0x50] = {random.next(), random.below(2) ? 0 : random.next()};
    if (random.below(2)) {
      set_gate(0x50, random.below(2) ? stub_of(0x50) : random.wild(), static_cast<u16>(random.below(0x60)),
               static_cast<unsigned>(random.below(16)), static_cast<unsigned>(random.below(4)),
               static_cast<unsigned>(random.below(8)), random.below(8) != 0);
    }
    run(random.below(2) ? k : u, CODE("int 0x50"));
    reset_descriptors();
  }
  expect("alive", 1, 1);
}

// A gate whose handler is itself a fault: the stack runs down to an unmapped page, then #DF on its own stack.
CASE(recursive_faults) {
  map(window_va, new_frame(), pte::p | pte::w);
  const Code ud2 = CODE("ud2");
  place_code(ud2);
  set_gate(6, code_va);
  Context x = context_for(k);
  x.rsp = window_va + 0x1000;
  Trap t = run_context(x);
  expect_fault(t, vec::df, 0);
}

CASE(page_fault_handler_is_missing) {
  map(window_va, new_frame(), pte::p | pte::w);
  tss.rsp[0] = window_va + 0x1000;
  set_gate(14, window_va + 0x8000);
  expect("vector", run(u, CODE("mov eax, [rbx]"), {.rbx = window_va + 0x5000}).vector, vec::df);
}

CASE(random_tss) {
  Random random(33);
  for (unsigned i = 0; i < 5000; i++) {
    u8* bytes = reinterpret_cast<u8*>(&tss);
    for (unsigned b = 4; b < 104; b++) bytes[b] = static_cast<u8>(random.next());
    // Not in device memory: delivery onto a device ends the domain, which idt_nowhere tries at the end.
    auto stack = [&] {
      const u64 v = random.wild();
      return v >> 24 == 0xfe ? v >> 24 : v;
    };
    tss.rsp[0] = stack();
    for (unsigned n = 0; n < 6; n++) tss.ist[n] = stack();
    // Every exception that wild stacks lead to is caught on a sound one.
    tss.ist[6] = reinterpret_cast<u64>(ist_stack[6] + sizeof ist_stack[6]);
    for (unsigned v : {8u, 10u, 11u, 12u, 13u, 14u}) set_gate(v, stub_of(v), KERNEL_CS, 14, 0, 7);
    set_gate(0x50, stub_of(0x50), KERNEL_CS, 14, 3, static_cast<unsigned>(random.below(7)));
    run(random.below(2) ? k : u, CODE("int 0x50"));
    reset_descriptors();
  }
  expect("alive", 1, 1);
}

// The IDT in the EPC, in a device, in nothing; then an exception.
CASE(idt_nowhere) {
  print(" ");
  const cpu::TableRegister idtr{0xfff, 0xfee0'0000};
  asm volatile("lidt %0; ud2" ::"m"(idtr));
}
