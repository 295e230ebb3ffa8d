// Exceptions and their delivery: vectors, error codes, fault or trap RIP (SDM vol. 3A, table 6-1 and 6.15), stacks
// (6.14.2 to 6.14.5), double faults (table 6-5), error codes that name a selector or the IDT (6.13).
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, k32 = Mode::kernel32, u = Mode::user64, u32bit = Mode::user32;
constexpr u64 noncanonical = 0x8000'0000'0000;

u64 top_of(const u8 (&stack)[4096]) { return reinterpret_cast<u64>(stack) + 4096; }

}  // namespace

// ---- Table 6-1 and 6.15, exception by exception.

CASE(divide_by_zero) { expect_fault(run(k, CODE("xor ecx, ecx; nop; div ecx")), vec::de, 0, 3); }

CASE(divide_overflow_user) {
  expect_fault(run(u, CODE("idiv ecx"), {.rax = 0x80000000, .rcx = 0xffffffff, .rdx = 0xffffffff}), vec::de, 0, 0);
}

CASE(divide_leaves_registers) {
  Trap t = run(u, CODE("div rcx"), {.rax = 5, .rcx = 1, .rdx = 1});
  expect_fault(t, vec::de, 0, 0);
  expect("rax", t.gpr[0], 5);
  expect("rdx", t.gpr[2], 1);
}

// INT3 and INTO are traps: RIP is after them. A software interrupt through a gate of lower DPL: #GP(IDT), a fault.
CASE(int3_supervisor) { expect_fault(run(k, CODE("nop; int3")), vec::bp, 0, 2); }

CASE(int3_user) {
  set_gate(3, stub_of(3), KERNEL_CS, 14, 3);
  expect_fault(run(u, CODE("nop; int3")), vec::bp, 0, 2);
}

CASE(int3_user_dpl0) { expect_fault(run(u, CODE("nop; int3")), vec::gp, idt_error(3), 1); }

CASE(int_n_user_dpl0) { expect_fault(run(u, CODE("nop; int 0x40")), vec::gp, idt_error(0x40), 1); }

CASE(int_n_user_dpl3) {
  set_gate(0x40, stub_of(0x40), KERNEL_CS, 14, 3);
  expect_fault(run(u, CODE("int 0x40")), 0x40, 0, 2);
}

// INT n with an exception's vector pushes no error code (INT n/INTO/INT3/INT1, vol. 2A).
CASE(int_n_pushes_no_error_code) {
  set_gate(13, stub_of(0x42), KERNEL_CS, 14, 3);
  expect_fault(run(u, CODE("int 13")), 0x42, 0, 2);
}

CASE(into_compatibility) {
  set_gate(4, stub_of(4), KERNEL_CS, 14, 3);
  expect_fault(run(u32bit, CODE32("mov eax, 0x7fffffff; inc eax; into")), vec::of, 0, 7);
}

CASE(into_not_taken) { expect_done(run(u32bit, CODE32("xor eax, eax; into"))); }

CASE(into_in_64_bit_mode) { expect_fault(run(u, CODE(".byte 0xce")), vec::ud, 0, 0); }

CASE(bound_out_of_range) {
  at<u32>(data_va) = 10;
  at<u32>(data_va + 4) = 20;
  expect_fault(run(u32bit, CODE32("bound eax, [ebx]"), {.rax = 21, .rbx = data_va}), vec::br, 0, 0);
}

CASE(bound_in_range) {
  at<u32>(data_va) = 10;
  at<u32>(data_va + 4) = 20;
  expect_done(run(u32bit, CODE32("bound eax, [ebx]"), {.rax = 20, .rbx = data_va}));
}

CASE(ud2) { expect_fault(run(u, CODE("nop; ud2")), vec::ud, 0, 1); }

CASE(ud1_reads_no_memory) { expect_fault(run(u, CODE("ud1 eax, [rbx]"), {.rbx = data_va}), vec::ud, 0, 0); }

// Opcodes without meaning in 64-bit mode (vol. 2D, table A-2, superscript i64).
CASE(invalid_in_64_bit_mode) {
  static constexpr u8 opcodes[] = {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37,
                                   0x3f, 0x60, 0x61, 0x82, 0x9a, 0xd4, 0xd5, 0xd6, 0xea};
  for (u8 opcode : opcodes) {
    const u8 bytes[] = {opcode, 0, 0, 0, 0, 0, 0};
    Trap t = run(u, {bytes, bytes + sizeof bytes});
    if (t.vector != vec::ud || t.offset() != 0) expect("opcode", opcode, 0);
  }
  expect("opcodes", sizeof opcodes, 19);
}

// CR0.TS and EM (table 2-2 and vol. 2, exceptions of FADD and ADDPS).
CASE(x87_with_ts) {
  Context x = context_for(u);
  place_code(CODE("fld1"));
  cpu::set_cr0(cpu::cr0() | CR0_TS);
  expect_fault(run_context(x), vec::nm, 0, 0);
}

CASE(x87_with_em) {
  cpu::set_cr0(cpu::cr0() | CR0_EM);
  expect_fault(run(u, CODE("fld1")), vec::nm, 0, 0);
}

CASE(wait_with_ts_and_mp) {
  cpu::set_cr0(cpu::cr0() | CR0_TS | CR0_MP);
  expect_fault(run(u, CODE("fwait")), vec::nm, 0, 0);
}

CASE(wait_with_ts_without_mp) {
  cpu::set_cr0((cpu::cr0() | CR0_TS) & ~u64{CR0_MP});
  expect_done(run(u, CODE("fwait")));
}

CASE(sse_with_ts) {
  cpu::set_cr0(cpu::cr0() | CR0_TS);
  expect_fault(run(u, CODE("addps xmm0, xmm0")), vec::nm, 0, 0);
}

CASE(sse_with_em) {
  cpu::set_cr0(cpu::cr0() | CR0_EM);
  expect_fault(run(u, CODE("addps xmm0, xmm0")), vec::ud, 0, 0);
}

CASE(sse_without_osfxsr) {
  cpu::set_cr4(cpu::cr4() & ~u64{CR4_OSFXSR});
  expect_fault(run(u, CODE("addps xmm0, xmm0")), vec::ud, 0, 0);
}

// An unmasked x87 exception is reported at the next waiting x87 instruction (vol. 1, 8.7), with CR0.NE = 1 as #MF.
CASE(x87_unmasked_zero_divide) {
  at<u16>(data_va) = 0x037b;
  expect_fault(run(u, CODE("fldcw [rbx]; fld1; fldz; fdivp; nop; fld1"), {.rbx = data_va}), vec::mf, 0, 9);
}

CASE(x87_no_wait_instructions_do_not_report) {
  at<u16>(data_va) = 0x037b;
  expect_done(run(u, CODE("fldcw [rbx]; fld1; fldz; fdivp; fnstsw ax; fnclex; fld1"), {.rbx = data_va}));
}

CASE(sse_masked_exception) {
  at<u32>(data_va) = 0x1d80;  // IM set: 0 / 0 is a masked invalid operation
  expect_done(run(u, CODE("ldmxcsr [rbx]; xorps xmm0, xmm0; divss xmm0, xmm0"), {.rbx = data_va}));
}

CASE(sse_unmasked_exception) {
  at<u32>(data_va) = 0x1d80;           // ZM clear
  at<u32>(data_va + 4) = 0x3f80'0000;  // 1.0
  expect_fault(run(u, CODE("ldmxcsr [rbx]; xorps xmm1, xmm1; movss xmm0, [rbx+4]; divss xmm0, xmm1"), {.rbx = data_va}),
               vec::xm, 0, 11);
}

CASE(sse_unmasked_without_osxmmexcpt) {
  at<u32>(data_va) = 0x1d80;
  at<u32>(data_va + 4) = 0x3f80'0000;
  cpu::set_cr4(cpu::cr4() & ~u64{CR4_OSXMMEXCPT});
  expect_fault(run(u, CODE("ldmxcsr [rbx]; xorps xmm1, xmm1; movss xmm0, [rbx+4]; divss xmm0, xmm1"), {.rbx = data_va}),
               vec::ud, 0, 11);
}

CASE(ldmxcsr_reserved_bit) {
  at<u32>(data_va) = 0x11f80;
  expect_fault(run(u, CODE("ldmxcsr [rbx]"), {.rbx = data_va}), vec::gp, 0, 0);
}

CASE(movaps_misaligned) { expect_fault(run(u, CODE("movaps xmm0, [rbx]"), {.rbx = data_va + 8}), vec::gp, 0, 0); }

// 6.15, interrupt 17: CR0.AM, RFLAGS.AC and CPL 3; the error code is zero.
CASE(alignment_check_user) {
  expect_fault(run(u, CODE("mov eax, [rbx]"), {.rbx = data_va + 2}, flag::fixed | flag::ac), vec::ac, 0, 0);
}

CASE(alignment_check_stack) {
  expect_fault(run(u, CODE("sub rsp, 4; push rax"), {}, flag::fixed | flag::ac), vec::ac, 0, 4);
}

CASE(alignment_check_off_without_am) {
  cpu::set_cr0(cpu::cr0() & ~u64{CR0_AM});
  expect_done(run(u, CODE("mov eax, [rbx]"), {.rbx = data_va + 2}, flag::fixed | flag::ac));
}

CASE(alignment_check_off_supervisor) {
  expect_done(run(k, CODE("mov eax, [rbx]"), {.rbx = data_va + 2}, flag::fixed | flag::ac));
}

// 3.3.7.1: a non-canonical address is #GP(0), by the stack segment #SS(0).
CASE(noncanonical_data) { expect_fault(run(u, CODE("mov eax, [rbx]"), {.rbx = noncanonical}), vec::gp, 0, 0); }

CASE(noncanonical_by_rbp) { expect_fault(run(u, CODE("mov eax, [rbp]"), {.rbp = noncanonical}), vec::ss, 0, 0); }

CASE(noncanonical_by_rbp_with_ds) {
  expect_fault(run(u, CODE("mov eax, ds:[rbp]"), {.rbp = noncanonical}), vec::ss, 0, 0);
}

CASE(noncanonical_push) {
  expect_fault(run(u, CODE("mov rsp, rbx; push rax"), {.rbx = noncanonical + 0x100}), vec::ss, 0, 3);
}

CASE(noncanonical_pop) { expect_fault(run(u, CODE("mov rsp, rbx; pop rax"), {.rbx = noncanonical}), vec::ss, 0, 3); }

CASE(noncanonical_call) { expect_fault(run(u, CODE("nop; call rbx"), {.rbx = noncanonical}), vec::gp, 0, 1); }

CASE(noncanonical_jump) { expect_fault(run(u, CODE("nop; jmp rbx"), {.rbx = noncanonical}), vec::gp, 0, 1); }

CASE(noncanonical_ret) { expect_fault(run(u, CODE("push rbx; ret"), {.rbx = noncanonical}), vec::gp, 0, 1); }

// 2.3.11 of vol. 2A: at most 15 bytes; more is #GP(0). LOCK only with a memory destination of certain opcodes: #UD.
CASE(fifteen_bytes) { expect_done(run(u, CODE(".fill 14, 1, 0x66; nop"))); }

CASE(sixteen_bytes) { expect_fault(run(u, CODE(".fill 15, 1, 0x66; nop")), vec::gp, 0, 0); }

CASE(lock_prefix) {
  line("register");
  expect_fault(run(u, CODE(".byte 0xf0, 0x01, 0xc8")), vec::ud, 0, 0);
  line("load");
  expect_fault(run(u, CODE(".byte 0xf0, 0x8b, 0x03"), {.rbx = data_va}), vec::ud, 0, 0);
  line("cmp");
  expect_fault(run(u, CODE(".byte 0xf0, 0x39, 0x03"), {.rbx = data_va}), vec::ud, 0, 0);
  line("nop");
  expect_fault(run(u, CODE(".byte 0xf0, 0x90")), vec::ud, 0, 0);
  line("add");
  expect_done(run(u, CODE("lock add [rbx], eax"), {.rbx = data_va}));
}

// Privileged instructions at CPL 3: #GP(0) (5.9), in both code modes.
CASE(privileged_at_cpl3) {
  static const struct {
    const char* name;
    Code code;
  } rows[] = {
      {"hlt", CODE("hlt")},
      {"clts", CODE("clts")},
      {"lgdt", CODE("lgdt [rbx]")},
      {"lidt", CODE("lidt [rbx]")},
      {"lldt", CODE("lldt ax")},
      {"ltr", CODE("ltr ax")},
      {"lmsw", CODE("lmsw ax")},
      {"mov_from_cr0", CODE("mov rax, cr0")},
      {"mov_to_cr3", CODE("mov cr3, rax")},
      {"mov_to_cr8", CODE("mov cr8, rax")},
      {"mov_from_dr7", CODE("mov rax, dr7")},
      {"invlpg", CODE("invlpg [rbx]")},
      {"invd", CODE("invd")},
      {"wbinvd", CODE("wbinvd")},
      {"rdmsr", CODE("rdmsr")},
      {"wrmsr", CODE("wrmsr")},
      {"swapgs", CODE("swapgs")},
      {"sysexit", CODE(".byte 0x0f, 0x35")},
      {"sysret", CODE(".byte 0x0f, 0x07")},
      {"cli", CODE("cli")},
      {"sti", CODE("sti")},
      {"in", CODE("in al, 0x80")},
      {"out", CODE("out dx, eax")},
      {"xsetbv", CODE("xsetbv")},
  };
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE);
  for (const auto& row : rows) {
    line(row.name);
    expect_fault(run(u, row.code, {.rbx = data_va}), vec::gp, 0, 0);
  }
}

// IOPL and the I/O permission bitmap (vol. 1, 19.5): IOPL 3 allows all; else each port of the access needs a clear bit
// within the TSS limit.
CASE(io_with_iopl3) { expect_done(run(u, CODE("in al, 0x80; cli"), {}, flag::fixed | flag::iopl3)); }

CASE(io_bitmap) {
  set_gdt_system(TSS_SELECTOR, reinterpret_cast<u64>(&tss), 104 + 0x20, attr_tss);
  tss.io_map = 104;
  for (u8& b : tss.bitmap) b = 0;
  tss.bitmap[0x82 / 8] = 1 << (0x82 % 8);
  asm volatile("ltr %w0" ::"r"(TSS_SELECTOR));
  line("allowed");
  expect_done(run(u, CODE("in al, 0x80")));
  line("denied");
  expect_fault(run(u, CODE("in al, 0x82")), vec::gp, 0, 0);
  line("wide_overlaps_denied");
  expect_fault(run(u, CODE("in eax, 0x80")), vec::gp, 0, 0);
  line("word_next_to_denied");
  expect_done(run(u, CODE("in ax, 0x80")));
  line("beyond_limit");
  expect_fault(run(u, CODE("in al, dx"), {.rdx = 0x108}), vec::gp, 0, 0);
}

// ---- 6.14.2 to 6.14.5: stacks.

CASE(stack_on_privilege_change) {
  Trap t = run(u, CODE("ud2"));
  expect("stack", t.stack, reinterpret_cast<u64>(ring0_stack) + ring0_stack_bytes);
  expect("ss", t.ss, USER_DS | 3);
  expect("rsp", t.rsp, stack_top);
  expect("cs", t.cs, USER_CS | 3);
  u64 ss;
  asm volatile("mov %%ss, %0" : "=r"(ss));
  expect("ss_after_catcher", ss & 0xffff, KERNEL_DS);
}

// The new SS is NULL with RPL = new CPL.
CASE(ss_is_null_after_privilege_change) {
  static u64 seen;
  seen = ~0ul;
  set_hook(vec::ud, [](Frame&) {
    asm volatile("mov %%ss, %0" : "=r"(seen));
    return false;
  });
  run(u, CODE("ud2"));
  expect("ss", seen & 0xffff, 0);
}

// The frame is pushed on a stack aligned to 16 bytes even without a change of privilege.
CASE(stack_is_aligned_by_delivery) {
  Context x = context_for(k);
  x.rsp = stack_top - 5;
  place_code(CODE("ud2"));
  Trap t = run_context(x);
  expect("stack", t.stack, (stack_top - 5) & ~15ul);
  expect("rsp", t.rsp, stack_top - 5);
}

CASE(ist_from_supervisor_and_user) {
  set_gate(6, stub_of(6), KERNEL_CS, 14, 0, 3);
  line("supervisor");
  expect("stack", run(k, CODE("ud2")).stack, top_of(ist_stack[2]));
  line("user");
  expect("stack", run(u, CODE("ud2")).stack, top_of(ist_stack[2]));
}

CASE(gate_types_and_flags) {
  constexpr u64 flags = flag::fixed | flag::interrupt | flag::nt | flag::ac | flag::rf;
  static u64 inside;
  set_hook(vec::ud, [](Frame&) {
    inside = cpu::rflags();
    return false;
  });
  line("interrupt_gate");
  Trap t = run(u, CODE("ud2"), {}, flags & ~flag::rf);
  expect("saved", t.rflags, (flags & ~flag::rf) | flag::rf);  // 17.3.1.1: faults push RF = 1
  expect("inside", inside & (flag::interrupt | flag::nt | flag::rf | flag::tf), 0);
  line("trap_gate");
  set_gate(6, stub_of(6), KERNEL_CS, 15);
  run(u, CODE("ud2"), {}, flag::fixed | flag::interrupt);
  expect("inside", inside & flag::interrupt, flag::interrupt);
  asm volatile("cli");
}

// 6.12.1.1: a conforming handler segment keeps the CPL; the stack is not switched but for IST. Here: CS of DPL 3 above
// CPL 0 is #GP(selector).
CASE(gate_errors) {
  line("not_present");
  set_gate(0x50, stub_of(0x50), KERNEL_CS, 14, 3, 0, false);
  expect_fault(run(u, CODE("int 0x50")), vec::np, idt_error(0x50), 0);
  line("wrong_type");
  set_gate(0x50, stub_of(0x50), KERNEL_CS, 12, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, idt_error(0x50), 0);
  line("null_selector");
  set_gate(0x50, stub_of(0x50), 0, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, 0, 0);
  line("selector_is_data");
  set_gate(0x50, stub_of(0x50), KERNEL_DS, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, selector_error(KERNEL_DS), 0);
  line("selector_is_32_bit_code");
  set_gate(0x50, stub_of(0x50), KERNEL_CS32, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, selector_error(KERNEL_CS32), 0);
  line("selector_of_higher_dpl");
  set_gate(0x50, stub_of(0x50), USER_CS, 14, 3);
  expect_fault(run(k, CODE("int 0x50")), vec::gp, selector_error(USER_CS), 0);
  line("selector_beyond_gdt");
  set_gate(0x50, stub_of(0x50), 0x800, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, 0x800, 0);
  line("selector_not_present");
  set_gdt(SCRATCH_SELECTOR, descriptor(0, 0xfffff, attr_code64 & ~attr_present));
  set_gate(0x50, stub_of(0x50), SCRATCH_SELECTOR, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::np, SCRATCH_SELECTOR, 0);
  line("noncanonical_target");
  set_gate(0x50, noncanonical, KERNEL_CS, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::gp, 0, 0);
  line("beyond_idt_limit");
  load_idt(0x81 * 16 + 15);
  expect_fault(run(u, CODE("int 0x90")), vec::gp, idt_error(0x90), 0);
}

// 6.13: EXT is set if delivery of an exception, not of INT n, failed.
CASE(external_bit) {
  set_gate(6, stub_of(6), KERNEL_CS, 14, 0, 0, false);
  line("ud_gate_not_present");
  expect_fault(run(u, CODE("ud2")), vec::np, idt_error(6, true), 0);
  line("int3_gate_not_present");
  set_gate(3, stub_of(3), KERNEL_CS, 14, 3, 0, false);
  expect_fault(run(u, CODE("int3")), vec::np, idt_error(3), 0);
  line("ud_gate_null_selector");
  set_gate(6, stub_of(6), 0);
  expect_fault(run(u, CODE("ud2")), vec::gp, 1, 0);
  line("ud_gate_data_selector");
  set_gate(6, stub_of(6), KERNEL_DS);
  expect_fault(run(u, CODE("ud2")), vec::gp, selector_error(KERNEL_DS) | 1, 0);
}

// ---- Table 6-5: conditions for a double fault. #DF has error code 0 and, here, an IST stack.

CASE(contributory_on_contributory) {
  set_gate(13, stub_of(13), KERNEL_CS, 14, 0, 0, false);  // #GP -> #NP
  Trap t = run(u, CODE("mov eax, [rbx]"), {.rbx = noncanonical});
  expect_fault(t, vec::df, 0);
  expect("stack", t.stack, top_of(ist_stack[0]));
}

CASE(contributory_on_page_fault) {
  set_gate(14, stub_of(14), KERNEL_CS, 14, 0, 0, false);  // #PF -> #NP
  expect_fault(run(u, CODE("mov eax, [rbx]"), {.rbx = window_va}), vec::df, 0);
}

CASE(page_fault_on_page_fault) {
  tss.rsp[0] = window_va + 4096;  // #PF -> #PF of the push
  expect_fault(run(u, CODE("mov eax, [rbx]"), {.rbx = window_va + 0x8000}), vec::df, 0);
  expect("cr2", last_trap.cr2, window_va + 4096 - 8);
}

// Benign first, or a page fault while a contributory one is delivered: handled one after the other.
CASE(page_fault_on_contributory) {
  static constexpr u64 hole = window_va + 0x1000;
  set_gate(13, stub_of(13), KERNEL_CS, 14, 0, 1);
  tss.ist[0] = hole;
  set_gate(8, stub_of(8), KERNEL_CS, 14, 0, 2);
  set_gate(14, stub_of(14), KERNEL_CS, 14, 0, 3);
  Trap t = run(u, CODE("mov eax, [rbx]"), {.rbx = noncanonical});
  expect_page_fault(t, 2, hole - 8);
  expect("rip", t.offset(), 0);
}

CASE(contributory_on_benign) {
  set_gate(6, stub_of(6), KERNEL_CS, 14, 0, 0, false);
  set_gate(11, stub_of(11), KERNEL_CS, 14, 0, 4);
  Trap t = run(k, CODE("ud2"));
  expect_fault(t, vec::np, idt_error(6, true), 0);
  expect("stack", t.stack, top_of(ist_stack[3]));
}

CASE(page_fault_on_benign) {
  tss.rsp[0] = window_va + 4096;
  set_gate(14, stub_of(14), KERNEL_CS, 14, 0, 2);
  expect_page_fault(run(u, CODE("ud2")), 2, window_va + 4096 - 8);
}

// 6.14.2: a non-canonical stack pointer from the TSS is #SS(0) or, by a new stack, #SS with EXT; INT n has EXT clear.
CASE(noncanonical_rsp0) {
  tss.rsp[0] = noncanonical + 0x100;
  set_gate(12, stub_of(12), KERNEL_CS, 14, 0, 2);
  line("int_n");
  set_gate(0x50, stub_of(0x50), KERNEL_CS, 14, 3);
  expect_fault(run(u, CODE("int 0x50")), vec::ss, 0, 0);
  line("exception");
  expect_fault(run(u, CODE("ud2")), vec::ss, 1, 0);
}

// A page fault that delivery itself meets in the IDT: supervisor read, whatever the CPL.
CASE(idt_not_mapped) {
  const cpu::TableRegister idtr{0xfff, window_va};
  Gate* gates = reinterpret_cast<Gate*>(new_frame());
  for (unsigned v = 0; v < 256; v++) gates[v] = idt[v];
  map(window_va, reinterpret_cast<u64>(gates), pte::p);
  asm volatile("lidt %0" ::"m"(idtr));
  line("mapped");
  expect_fault(run(u, CODE("ud2")), vec::ud, 0, 0);
  line("gate_on_missing_page");
  const cpu::TableRegister split{0xfff, window_va - 0xe0};  // vectors up to 13 on the page before
  map(window_va - 4096, new_frame(), pte::p | pte::w);
  for (unsigned v = 0; v < 256 - 14; v++) gates[v] = idt[v + 14];
  for (unsigned v = 0; v < 14; v++) reinterpret_cast<Gate*>(window_va - 0xe0)[v] = idt[v];
  asm volatile("lidt %0" ::"m"(split));
  *entry_of(window_va - 4096) = 0;
  cpu::invlpg(window_va - 4096);
  Trap t = run(u, CODE("ud2"));
  load_idt();
  expect_page_fault(t, 0, window_va - 0xe0 + 6 * 16);
}

// 16-bit operand-size INT in compatibility mode enters the same 64-bit gate (6.14).
CASE(interrupt_from_compatibility_mode) {
  Trap t = run(u32bit, CODE32("push eax; mov ebx, esp; ud2"));
  expect_fault(t, vec::ud, 0, 3);
  expect("cs", t.cs, USER_CS32 | 3);
  expect("rsp", t.rsp, stack_top - 4);
  expect("kernel32", run(k32, CODE32("inc eax; dec eax; ud2")).offset(), 2);
}
