// Segmentation: loads and their checks (SDM vol. 3A, 5.2 to 5.8 and MOV, LAR, LSL, VERR in vol. 2), far transfers,
// IRET, SYSCALL and SYSENTER, FS and GS bases, LDT and TSS.
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64, u32bit = Mode::user32, k32 = Mode::kernel32;
constexpr u64 noncanonical = 0x8000'0000'0000;
constexpr u16 scratch = SCRATCH_SELECTOR;

void wrmsr(u32 index, u64 v) { cpu::wrmsr(index, v); }

/// LAR and friends, with ZF: value on success, all ones if ZF is clear. LAR leaves bits 19:16 undefined.
u64 lar(u32 selector) {
  u64 v = 0;
  bool zf;
  asm volatile("lar %2, %0" : "+r"(v), "=@ccz"(zf) : "r"(u64{selector}));
  return zf ? v & ~0xf0000ul : ~0ul;
}
u64 lsl(u32 selector) {
  u64 v = 0;
  bool zf;
  asm volatile("lsl %2, %0" : "+r"(v), "=@ccz"(zf) : "r"(u64{selector}));
  return zf ? v : ~0ul;
}
u64 verr(u16 selector) {
  bool zf;
  asm volatile("verr %1" : "=@ccz"(zf) : "r"(selector));
  return zf;
}
u64 verw(u16 selector) {
  bool zf;
  asm volatile("verw %1" : "=@ccz"(zf) : "r"(selector));
  return zf;
}

struct __attribute__((packed)) FarPointer {
  u64 offset;
  u16 selector;
};

}  // namespace

// ---- MOV to segment registers (MOV, vol. 2B; 5.6, 5.7).
CASE(data_segment_loads) {
  static const struct {
    const char* name;
    u16 selector;
    u32 attributes;
    u64 vector, error;
    Mode mode;
  } rows[] = {
      {"data", scratch, attr_data, vec::done, 0, k},
      {"readable_code", scratch, attr_code64, vec::done, 0, k},
      {"execute_only_code", scratch, 0xa099, vec::gp, scratch, k},
      {"not_present", scratch, attr_data & ~attr_present, vec::np, scratch, k},
      {"system", scratch, 0x0089, vec::gp, scratch, k},
      {"user_loads_dpl0", scratch, attr_data, vec::gp, scratch, u},
      {"user_loads_dpl3", scratch | 3, attr_data | attr_dpl3, vec::done, 0, u},
      {"rpl3_loads_dpl0", scratch | 3, attr_data, vec::gp, scratch, k},
      {"conforming_code_ignores_dpl", scratch | 3, 0xa09f, vec::done, 0, u},
      {"nonconforming_code_dpl0", scratch | 3, attr_code64, vec::gp, scratch, u},
      {"privilege_before_present", scratch, attr_data & ~attr_present, vec::gp, scratch, u},
      {"type_before_present", scratch, 0xa019, vec::gp, scratch, k},
      {"null", 0, 0, vec::done, 0, u},
      {"null_rpl3", 3, 0, vec::done, 0, u},
      {"beyond_limit", 0x400, 0, vec::gp, 0x400, k},
      {"ldt_without_ldt", 0x0c, 0, vec::gp, 0x0c, k},
  };
  for (const auto& row : rows) {
    line(row.name);
    set_gdt(scratch, descriptor(0, 0xfffff, row.attributes));
    expect_fault(run(row.mode, CODE("mov es, eax"), {.rax = row.selector}), row.vector, row.error,
                 row.vector == vec::done ? 4 : 0);
  }
}

CASE(stack_segment_loads) {
  static const struct {
    const char* name;
    u16 selector;
    u32 attributes;
    u64 vector, error;
    Mode mode;
  } rows[] = {
      {"data", scratch, attr_data, vec::done, 0, k},
      {"null_at_cpl0_64_bit", 0, 0, vec::done, 0, k},
      {"null_rpl3_at_cpl0", 3, 0, vec::gp, 0, k},
      {"null_at_cpl3", 0, 0, vec::gp, 0, u},
      {"null_rpl3_at_cpl3", 3, 0, vec::gp, 0, u},
      {"null_in_compatibility_mode", 0, 0, vec::gp, 0, k32},
      {"rpl_differs", scratch | 3, attr_data, vec::gp, scratch, k},
      {"dpl_differs", scratch, attr_data | attr_dpl3, vec::gp, scratch, k},
      {"read_only", scratch, 0xc091, vec::gp, scratch, k},
      {"code", scratch, attr_code64, vec::gp, scratch, k},
      {"not_present", scratch, attr_data & ~attr_present, vec::ss, scratch, k},
      {"user", scratch | 3, attr_data | attr_dpl3, vec::done, 0, u},
      {"beyond_limit", 0x400, 0, vec::gp, 0x400, k},
  };
  for (const auto& row : rows) {
    line(row.name);
    set_gdt(scratch, descriptor(0, 0xfffff, row.attributes));
    Trap t = run(row.mode, CODE("mov ss, eax; nop"), {.rax = row.selector});
    expect_fault(t, row.vector, row.error, row.vector == vec::done ? 5 : 0);
  }
}

CASE(mov_to_cs) { expect_fault(run(k, CODE(".byte 0x8e, 0xc8")), vec::ud, 0, 0); }

CASE(mov_to_segment_6) { expect_fault(run(k, CODE(".byte 0x8e, 0xf0")), vec::ud, 0, 0); }

// 3.4.5.1: loading sets the accessed bit of the descriptor.
CASE(accessed_bit) {
  set_gdt(scratch, descriptor(0, 0xfffff, 0xc092));
  run(k, CODE("mov es, eax"), {.rax = scratch});
  expect("type", gdt[scratch / 8] >> 40 & 15, 3);
}

// PUSH, POP and MOV of segment registers: POP FS in 64-bit mode takes 8 bytes.
CASE(pop_fs) {
  Trap t = run(k, CODE("mov rbx, rsp; push 0x18; pop fs; sub rbx, rsp; mov eax, fs"));
  expect_done(t);
  expect("rsp", t.gpr[3], 0);
  expect("fs", t.gpr[0], 0x18);
}

CASE(lss_lfs) {
  at<FarPointer>(data_va) = {0x1234'5678'9abc'def0, KERNEL_DS};
  Trap t = run(k, CODE(".byte 0x48, 0x0f, 0xb4, 0x03; mov ecx, fs"), {.rbx = data_va});
  expect_done(t);
  expect("rax", t.gpr[0], 0x1234'5678'9abc'def0);
  expect("fs", t.gpr[1], KERNEL_DS);
}

// ---- LAR, LSL, VERR, VERW (vol. 2, tables 3-53 and 3-56): ZF says whether the selector may be seen.
CASE(lar_lsl) {
  line("lar_code64");
  expect("value", lar(KERNEL_CS), 0x00a09b00);
  line("lar_data");
  expect("value", lar(KERNEL_DS), 0x00c09300);
  line("lar_null");
  expect("value", lar(0), ~0ul);
  line("lar_beyond_limit");
  expect("value", lar(0x400), ~0ul);
  line("lar_tss_busy");
  expect("value", lar(TSS_SELECTOR), 0x00008b00);
  line("lar_interrupt_gate_type");
  set_gdt(scratch, descriptor(0, 0, 0x008e));
  expect("value", lar(scratch), ~0ul);
  line("lar_call_gate");
  set_gdt(scratch, descriptor(0, 0, 0x008c));
  expect("value", lar(scratch), 0x00008c00);
  line("lsl_call_gate");
  expect("value", lsl(scratch), ~0ul);
  line("lsl_pages");
  expect("value", lsl(KERNEL_DS), 0xffffffff);
  line("lsl_bytes");
  set_gdt(scratch, descriptor(0, 0x12345, 0x4093));
  expect("value", lsl(scratch), 0x12345);
  line("lsl_tss");
  expect("value", lsl(TSS_SELECTOR), 103);
  line("lar_not_present_counts");
  set_gdt(scratch, descriptor(0, 0, 0x4013));
  expect("value", lar(scratch), 0x00401300);
  line("lar_rpl_above_dpl");
  expect("value", lar(scratch | 3), ~0ul);
}

CASE(verr_verw) {
  line("data");
  expect("verr", verr(KERNEL_DS), 1);
  expect("verw", verw(KERNEL_DS), 1);
  line("code");
  expect("verr", verr(KERNEL_CS), 1);
  expect("verw", verw(KERNEL_CS), 0);
  line("rpl3");
  expect("verr", verr(KERNEL_DS | 3), 0);
  expect("verw", verw(USER_DS | 3), 1);
  line("null");
  expect("verr", verr(0), 0);
  line("tss");
  expect("verr", verr(TSS_SELECTOR), 0);
  line("execute_only");
  set_gdt(scratch, descriptor(0, 0xfffff, 0xa099));
  expect("verr", verr(scratch), 0);
  line("read_only");
  set_gdt(scratch, descriptor(0, 0xfffff, 0xc091));
  expect("verr", verr(scratch), 1);
  expect("verw", verw(scratch), 0);
}

// ---- Far transfers (5.8; JMP, CALL, RET in vol. 2).
CASE(far_jump_to_compatibility_mode) {
  at<u32>(data_va) = code_va + 16;
  at<u16>(data_va + 4) = USER_CS32 | 3;
  // 0x48 is DEC EAX there: REX.W in 64-bit mode.
  Trap t = run(u, CODE("jmp fword ptr [rbx]; .org 771b+16; .byte 0x48"), {.rax = 5, .rbx = data_va});
  expect_done(t);
  expect("cs", t.cs, USER_CS32 | 3);
  expect("rax", t.gpr[0], 4);
}

CASE(far_jump_back_to_64_bit_mode) {
  Trap t = run(u32bit, CODE32(".byte 0xea; .long 0x40000010; .word 0x33; .org 771b+16; .byte 0x48, 0xff, 0xc0"),
               {.rax = ~0ul});
  expect_done(t);
  expect("cs", t.cs, USER_CS | 3);
}

CASE(far_jump_faults) {
  static const struct {
    const char* name;
    u16 selector;
    u32 attributes;
    u64 vector, error;
  } rows[] = {
      {"null", 0, 0, vec::gp, 0},
      {"beyond_limit", 0x408, 0, vec::gp, 0x408},
      {"data", scratch | 3, attr_data | attr_dpl3, vec::gp, scratch},
      {"dpl0", scratch | 3, attr_code64, vec::gp, scratch},
      {"not_present", scratch | 3, (attr_code64 | attr_dpl3) & ~attr_present, vec::np, scratch},
      {"l_and_d", scratch | 3, 0xe0fb, vec::gp, scratch},
      {"tss_in_64_bit_mode", scratch | 3, 0x00e9, vec::gp, scratch},
  };
  for (const auto& row : rows) {
    line(row.name);
    set_gdt(scratch, descriptor(0, 0xfffff, row.attributes));
    at<u32>(data_va) = code_va + 16;
    at<u16>(data_va + 4) = row.selector;
    expect_fault(run(u, CODE("jmp fword ptr [rbx]"), {.rbx = data_va}), row.vector, row.error, 0);
  }
  line("conforming_dpl0");
  set_gdt(scratch, descriptor(0, 0xfffff, 0xa09f));
  at<u32>(data_va) = code_va + 2;
  at<u16>(data_va + 4) = scratch;
  Trap t = run(u, CODE("jmp fword ptr [rbx]"), {.rbx = data_va});
  expect_done(t);
  expect("cs", t.cs, scratch | 3);
}

CASE(far_call_and_return) {
  at<FarPointer>(data_va) = {code_va + 16, USER_CS | 3};
  Trap t = run(u, CODE("rex.w call fword ptr [rbx]; mov ecx, 7; jmp 9f; .org 771b+16; mov edx, 9; rex.w retf; 9:"),
               {.rbx = data_va});
  expect_done(t);
  expect("rcx", t.gpr[1], 7);
  expect("rdx", t.gpr[2], 9);
  expect("rsp", t.rsp, stack_top);
}

CASE(retf_to_inner_privilege) {
  expect_fault(run(u, CODE("push 0x10; push rbx; rex.w retf"), {.rbx = code_va}), vec::gp, selector_error(KERNEL_CS),
               3);
}

CASE(retf_to_outer_privilege) {
  Trap t = run(k, CODE("push 0x2b; push rcx; push 0x33; push rbx; rex.w retf; .org 771b+16; mov eax, cs"),
               {.rcx = stack_top - 0x100, .rbx = code_va + 16});
  expect_done(t);
  expect("cs", t.cs, USER_CS | 3);
  expect("rsp", t.rsp, stack_top - 0x100);
  expect("ss", t.ss, USER_DS | 3);
}

// 5.8.3.1: 64-bit call gates (figure 5-9): stack from the TSS, SS null, the old SS:RSP and CS:RIP pushed.
CASE(call_gate) {
  auto gate = [](u64 target, u16 selector, u32 attributes) {
    gdt[scratch / 8] =
        (target & 0xffff) | (u64{selector} << 16) | (u64{attributes} << 40) | ((target >> 16 & 0xffff) << 48);
    gdt[scratch / 8 + 1] = target >> 32;
  };
  at<FarPointer>(data_va) = {0, scratch | 3};
  Code code = CODE(
      "rex.w call fword ptr [rbx]; .org 771b+16; mov eax, cs; mov ecx, ss; mov rdx, [rsp]; mov rsi, [rsp+16]; int "
      "0x81");
  line("to_cpl0");
  gate(code_va + 16, KERNEL_CS, 0xec);
  Trap t = run(u, code, {.rbx = data_va});
  expect_done(t);
  expect("cs", t.gpr[0], KERNEL_CS);
  expect("ss", t.gpr[1], 0);
  expect("return", t.gpr[2], code_va + 3);
  expect("old_rsp", t.gpr[6], stack_top);
  line("dpl");
  gate(code_va + 16, KERNEL_CS, 0x8c);
  expect_fault(run(u, code, {.rbx = data_va}), vec::gp, scratch, 0);
  line("not_present");
  gate(code_va + 16, KERNEL_CS, 0x6c);
  expect_fault(run(u, code, {.rbx = data_va}), vec::np, scratch, 0);
  line("target_is_data");
  gate(code_va + 16, KERNEL_DS, 0xec);
  expect_fault(run(u, code, {.rbx = data_va}), vec::gp, selector_error(KERNEL_DS), 0);
  line("target_is_32_bit");
  gate(code_va + 16, KERNEL_CS32, 0xec);
  expect_fault(run(u, code, {.rbx = data_va}), vec::gp, selector_error(KERNEL_CS32), 0);
  line("target_is_null");
  gate(code_va + 16, 0, 0xec);
  expect_fault(run(u, code, {.rbx = data_va}), vec::gp, 0, 0);
  line("upper_type_not_zero");
  gate(code_va + 16, KERNEL_CS, 0xec);
  gdt[scratch / 8 + 1] |= u64{1} << 40;
  expect_fault(run(u, code, {.rbx = data_va}), vec::gp, scratch, 0);
}

// ---- IRET (vol. 2A): checks of CS and SS; NT in long mode is #GP(0); RFLAGS by CPL.
CASE(iret_faults) {
  auto iret = [](u64 cs, u64 ss, u64 rip = code_va, u64 rflags = flag::fixed) {
    Context x = context_for(k);
    x.cs = cs;
    x.ss = ss;
    x.rip = rip;
    x.rflags = rflags;
    place_code(CODE("nop"));
    return run_context(x);
  };
  static const struct {
    const char* name;
    u64 cs, ss;
    u64 vector, error;
  } rows[] = {
      {"cs_null", 0, KERNEL_DS, vec::gp, 0},
      {"cs_data", KERNEL_DS, KERNEL_DS, vec::gp, KERNEL_DS},
      {"cs_beyond_limit", 0x400, KERNEL_DS, vec::gp, 0x400},
      {"cs_rpl_differs_from_dpl", USER_CS, KERNEL_DS, vec::gp, USER_CS},
      {"ss_null_to_cpl3", USER_CS | 3, 0, vec::gp, 0},
      {"ss_null_to_compatibility", USER_CS32 | 3, 3, vec::gp, 0},
      {"ss_rpl", USER_CS | 3, USER_DS, vec::gp, USER_DS},
      {"ss_dpl", USER_CS | 3, KERNEL_DS | 3, vec::gp, KERNEL_DS},
      {"ss_code", USER_CS | 3, USER_CS | 3, vec::gp, USER_CS},
  };
  for (const auto& row : rows) {
    line(row.name);
    Trap t = iret(row.cs, row.ss);
    expect_fault(t, row.vector, row.error);
    expect("rip", t.rip, reinterpret_cast<u64>(enter_iret));
  }
  line("cs_not_present");
  set_gdt(scratch, descriptor(0, 0xfffff, attr_code64 & ~attr_present));
  expect_fault(iret(scratch, KERNEL_DS), vec::np, scratch);
  line("ss_not_present");
  set_gdt(scratch, descriptor(0, 0xfffff, (attr_data | attr_dpl3) & ~attr_present));
  expect_fault(iret(USER_CS | 3, scratch | 3), vec::ss, scratch);
  line("noncanonical_rip");
  expect_fault(iret(USER_CS | 3, USER_DS | 3, noncanonical), vec::gp, 0);
  line("ss_null_stays_at_cpl0");
  expect("vector", iret(KERNEL_CS, 0).vector, vec::done);
  line("nested_task");
  Trap t = attempt([] { asm volatile("pushfq; orl $0x4000, (%%rsp); popfq; iretq" ::: "memory"); });
  expect_fault(t, vec::gp, 0);
}

// 2.3 and POPF: at CPL 3 IOPL and IF do not change, without a fault.
CASE(popf_by_cpl) {
  line("user");
  Trap t = run(u, CODE("push 0x3202; popf"));
  expect_done(t);
  expect("flags", t.rflags & (flag::iopl3 | flag::interrupt), 0);
  line("iret_in_user_mode");
  t = run(u, CODE("mov rcx, rsp; push 0x2b; push rcx; push 0x3202; push 0x33; push rbx; iretq; .org 771b+16; nop"),
          {.rbx = code_va + 16});
  expect_done(t);
  expect("flags", t.rflags & (flag::iopl3 | flag::interrupt), 0);
  line("rf_is_cleared");
  t = run(u, CODE("mov eax, 0x10202; push rax; popf"));
  expect("flags", t.rflags & flag::rf, 0);
}

// IRET to an outer level makes data segments null that the new CPL may not use (vol. 2A).
CASE(iret_clears_segments) {
  Context x = context_for(u);
  x.data = KERNEL_DS;
  place_code(CODE("mov eax, ds; mov ecx, es"));
  Trap t = run_context(x);
  expect("ds", t.gpr[0], 0);
  expect("es", t.gpr[1], 0);
}

// ---- Fast system calls (5.8.7, 5.8.8).
CASE(syscall_sysret_64) {
  wrmsr(0xc0000081, (u64{0x20 | 3} << 48) | (u64{KERNEL_CS} << 32));
  wrmsr(0xc0000082, code_va + 32);
  wrmsr(0xc0000084, flag::tf | flag::df | flag::zf);
  Code code =
      CODE("syscall; nop; mov edx, cs; int 0x81; .org 771b+32; pushf; pop rsi; mov r8d, cs; mov r9d, ss; rex.w sysret");
  Trap t = run(u, code, {}, flag::fixed | flag::zf | flag::cf | flag::df);
  expect_done(t);
  expect("rcx", t.gpr[1], code_va + 2);
  expect("r11", t.gpr[11] & 0xffff, flag::fixed | flag::zf | flag::cf | flag::df);
  expect("masked", t.gpr[6] & (flag::zf | flag::cf | flag::df), flag::cf);
  expect("kernel_cs", t.gpr[8], KERNEL_CS);
  expect("kernel_ss", t.gpr[9], KERNEL_DS);
  expect("user_cs", t.cs, USER_CS | 3);
  expect("user_ss", t.ss, USER_DS | 3);
  expect("flags", t.rflags & 0xffff, flag::fixed | flag::zf | flag::cf | flag::df);
}

CASE(sysret_32) {
  wrmsr(0xc0000081, (u64{0x20 | 3} << 48) | (u64{KERNEL_CS} << 32));
  Trap t = run(k, CODE("sysretd; .org 771b+16; .byte 0x48"), {.rax = 5, .rcx = 0xdead'0000'0000'0000 | (code_va + 16)});
  expect_done(t);
  expect("cs", t.cs, USER_CS32 | 3);
  expect("rax", t.gpr[0], 4);
}

CASE(syscall_rules) {
  line("compatibility_mode_on_intel");
  if (on_tcg()) {
    skip("allowed, as on AMD");
  } else {
    expect_fault(run(u32bit, CODE32("syscall")), vec::ud, 0, 0);
  }
  line("sce_clear");
  wrmsr(0xc0000080, EFER_LME | EFER_LMA | EFER_NXE);
  expect_fault(run(u, CODE("syscall")), vec::ud, 0, 0);
  line("sysret_sce_clear");
  expect_fault(run(k, CODE("rex.w sysret")), vec::ud, 0, 0);
  wrmsr(0xc0000080, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
  line("sysret_to_noncanonical_rcx_on_intel");
  wrmsr(0xc0000081, (u64{0x20 | 3} << 48) | (u64{KERNEL_CS} << 32));
  Trap t = run(k, CODE("rex.w sysret"), {.rcx = noncanonical});
  expect_fault(t, vec::gp, 0, 0);
  expect("cs", t.cs, KERNEL_CS);
  line("sysret_in_compatibility_mode");
  expect_fault(run(k32, CODE32(".byte 0x0f, 0x07")), vec::ud, 0, 0);
}

CASE(sysenter_sysexit) {
  wrmsr(0x174, KERNEL_CS);
  wrmsr(0x175, stack_top - 0x200);
  wrmsr(0x176, code_va + 32);
  Code code = CODE(
      "sysenter; .org 771b+16; mov eax, cs; mov ebx, ss; int 0x81; .org 771b+32; mov rdx, rdi; mov rcx, rsi; mov r8d, "
      "cs; mov r9, rsp; rex.w; .byte 0x0f, 0x35");
  line("from_64_bit_mode");
  Trap t = run(u, code, {.rsi = stack_top - 8, .rdi = code_va + 16}, flag::fixed | flag::interrupt);
  expect_done(t);
  expect("kernel_cs", t.gpr[8], KERNEL_CS);
  expect("kernel_rsp", t.gpr[9], stack_top - 0x200);
  expect("cs", t.gpr[0], USER_CS | 3);
  expect("ss", t.gpr[3], USER_DS_SYSEXIT | 3);
  expect("rsp", t.rsp, stack_top - 8);
  line("interrupts_off");
  t = run(u, CODE("sysenter; .org 771b+32; ud2"), {}, flag::fixed | flag::interrupt);
  expect_fault(t, vec::ud, 0, 32);
  expect("if", t.rflags & flag::interrupt, 0);
  line("from_compatibility_mode");
  t = run(u32bit, CODE32("sysenter; .org 771b+32; ud2"));
  expect_fault(t, vec::ud, 0, 32);
  expect("cs", t.cs, KERNEL_CS);
  line("sysexit_to_32_bit");
  t = run(k, CODE(".byte 0x0f, 0x35; .org 771b+16; .byte 0x48"), {.rax = 5, .rcx = stack_top, .rdx = code_va + 16});
  expect_done(t);
  expect("cs", t.cs, USER_CS32 | 3);
  expect("ss", t.ss, USER_DS | 3);
  expect("rax", t.gpr[0], 4);
  line("sysenter_cs_zero");
  wrmsr(0x174, 0);
  expect_fault(run(u, CODE("sysenter")), vec::gp, 0, 0);
  line("sysexit_cs_zero");
  expect_fault(run(k, CODE(".byte 0x0f, 0x35")), vec::gp, 0, 0);
}

// ---- FS and GS bases (3.4.4.1; RDFSBASE, SWAPGS in vol. 2).
CASE(fs_gs_bases) {
  at(data_va) = 0x11;
  at(data_va + 0x100) = 0x22;
  wrmsr(0xc0000100, data_va);
  wrmsr(0xc0000101, data_va + 0x100);
  line("in_64_bit_mode");
  Trap t = run(u, CODE("mov rax, fs:[0]; mov rcx, gs:[0]; mov rdx, cs:[rbx]"), {.rbx = data_va});
  expect("fs", t.gpr[0], 0x11);
  expect("gs", t.gpr[1], 0x22);
  expect("cs_base_is_ignored", t.gpr[2], 0x11);
  line("swapgs");
  wrmsr(0xc0000102, data_va);
  t = run(k, CODE("swapgs; mov rax, gs:[0]; swapgs; mov rcx, gs:[0]"));
  expect("swapped", t.gpr[0], 0x11);
  expect("back", t.gpr[1], 0x22);
  line("load_takes_32_bit_base_of_descriptor");
  set_gdt(scratch, descriptor(data_va, 0xfffff, attr_data | attr_dpl3));
  t = run(u, CODE("mov gs, eax; mov rcx, gs:[0]"), {.rax = scratch | 3});
  expect("value", t.gpr[1], 0x11);
  expect("msr", cpu::rdmsr(0xc0000101), data_va);
  line("noncanonical_effective_address");
  wrmsr(0xc0000100, 0x7fff'ffff'f000);
  expect_fault(run(u, CODE("mov rax, fs:[rbx]"), {.rbx = 0x1000}), vec::gp, 0, 0);
}

CASE(fsgsbase) {
  if (!need(cpu::cpuid(7).ebx & 1, "fsgsbase")) return;
  line("disabled");
  expect_fault(run(u, CODE("rdfsbase rax")), vec::ud, 0, 0);
  cpu::set_cr4(cpu::cr4() | CR4_FSGSBASE);
  line("write_and_read");
  Trap t = run(u, CODE("wrfsbase rbx; wrgsbase rcx; rdfsbase rax; rdgsbase rdx"),
               {.rcx = 0x12345678'9000, .rbx = 0xffff'8000'0000'1234});
  expect_done(t);
  expect("fs", t.gpr[0], 0xffff'8000'0000'1234);
  expect("gs", t.gpr[2], 0x12345678'9000);
  expect("msr", cpu::rdmsr(0xc0000100), 0xffff'8000'0000'1234);
  line("32_bit");
  t = run(u, CODE("wrfsbase ebx; rdfsbase rax"), {.rbx = 0xffff'8000'9000'1234});
  expect("fs", t.gpr[0], 0x9000'1234);
  line("noncanonical");
  expect_fault(run(u, CODE("wrfsbase rbx"), {.rbx = noncanonical}), vec::gp, 0, 0);
  line("compatibility_mode");
  expect_fault(run(u32bit, CODE32(".byte 0xf3, 0x0f, 0xae, 0xc0")), vec::ud, 0, 0);
}

// ---- Limits count in compatibility mode (5.3): #GP(0), by SS #SS(0); expand-down segments hold what lies above.
CASE(limits_in_compatibility_mode) {
  set_gdt(scratch, descriptor(data_va, 0xfff, 0x40f3));
  line("last_byte");
  expect_done(run(u32bit, CODE32("mov es, eax; mov al, es:[0xfff]"), {.rax = scratch | 3}));
  line("word_over_the_end");
  expect_fault(run(u32bit, CODE32("mov es, eax; mov ax, es:[0xfff]"), {.rax = scratch | 3}), vec::gp, 0, 2);
  line("base_is_added");
  at<u8>(data_va + 5) = 0x5a;
  expect("al", run(u32bit, CODE32("mov es, eax; mov al, es:[5]"), {.rax = scratch | 3}).gpr[0] & 0xff, 0x5a);
  line("stack");
  expect_fault(run(u32bit, CODE32("mov ss, eax; push ecx"), {.rax = scratch | 3}), vec::ss, 0, 2);
  line("null_segment");
  expect_fault(run(u32bit, CODE32("mov es, ecx; mov al, es:[ebx]"), {.rbx = data_va}), vec::gp, 0, 2);
  line("write_to_read_only");
  set_gdt(scratch, descriptor(data_va, 0xfff, 0x40f1));
  expect_fault(run(u32bit, CODE32("mov es, eax; mov es:[0], al"), {.rax = scratch | 3}), vec::gp, 0, 2);
  line("write_to_code");
  expect_fault(run(u32bit, CODE32("mov cs:[ebx], al"), {.rbx = data_va}), vec::gp, 0, 0);
  line("expand_down_inside");
  set_gdt(scratch, descriptor(data_va, 0xfff, 0x40f7));
  expect_done(run(u32bit, CODE32("mov es, eax; mov al, es:[0x1000]"), {.rax = scratch | 3}));
  line("expand_down_at_limit");
  expect_fault(run(u32bit, CODE32("mov es, eax; mov al, es:[0xfff]"), {.rax = scratch | 3}), vec::gp, 0, 2);
  line("expand_down_16_bit_top");
  set_gdt(scratch, descriptor(data_va, 0xfff, 0x00f7));
  expect_fault(run(u32bit, CODE32("mov es, eax; mov al, es:[0x10000]"), {.rax = scratch | 3}), vec::gp, 0, 2);
  line("ignored_in_64_bit_mode");
  set_gdt(scratch, descriptor(0, 0, 0x40f3));
  expect_done(run(u, CODE("mov ds, eax; mov al, [rbx]"), {.rax = scratch | 3, .rbx = data_va}));
}

CASE(code_limit_in_compatibility_mode) {
  set_gdt(scratch, descriptor(code_va, 3, 0x40fb));
  Context x = context_for(u32bit);
  x.cs = scratch | 3;
  x.rip = 0;
  place_code(CODE32("nop; nop; nop; nop; nop"));
  line("fetch_beyond");
  Trap t = run_context(x);
  expect_fault(t, vec::gp, 0);
  expect("rip", t.rip, 4);
  line("jump_beyond");
  place_code(CODE32("jmp eax"));
  x.gpr[0] = 0x100;
  t = run_context(x);
  expect_fault(t, vec::gp, 0);
  expect("rip", t.rip, 0);
}

// Addresses wrap at 32 bits in compatibility mode.
CASE(compatibility_mode_wraps) {
  at<u8>(data_va) = 0x77;
  Trap t = run(u32bit, CODE32("mov al, [ebx + ecx]"), {.rcx = 0x8000'0000, .rbx = data_va + 0x8000'0000});
  expect_done(t);
  expect("al", t.gpr[0] & 0xff, 0x77);
}

// 16-bit code: operand and address size from CS.D.
CASE(sixteen_bit_code) {
  set_gdt(scratch, descriptor(code_va, 0xffff, 0x00fb));
  Context x = context_for(u32bit);
  x.cs = scratch | 3;
  x.rip = 0;
  x.gpr[0] = 0x1'ffff;
  place_code(CODE_WIDE("16", "inc ax; mov cx, 0x1234"));
  Trap t = run_context(x);
  expect("vector", t.vector, vec::done);
  expect("eax", t.gpr[0], 0x1'0000);
  expect("ecx", t.gpr[1], 0x1234);
  expect("rip", t.rip, 6);
}

// ---- LDT and TSS (3.5, 7.2).
CASE(ldt) {
  u64* table = reinterpret_cast<u64*>(new_frame());
  table[1] = descriptor(0, 0xfffff, attr_data | attr_dpl3);
  set_gdt_system(scratch, reinterpret_cast<u64>(table), 15, attr_ldt);
  line("lldt");
  expect_done(run(k, CODE("lldt ax; sldt ecx"), {.rax = scratch}));
  expect("sldt", last_trap.gpr[1], scratch);
  line("load_from_ldt");
  expect_done(run(u, CODE("mov es, eax"), {.rax = 0x0f}));
  line("beyond_ldt_limit");
  expect_fault(run(u, CODE("mov es, eax"), {.rax = 0x17}), vec::gp, 0x14, 0);
  line("lldt_wrong_type");
  set_gdt_system(scratch, 0, 15, attr_tss);
  expect_fault(run(k, CODE("lldt ax"), {.rax = scratch}), vec::gp, scratch, 0);
  line("lldt_not_present");
  set_gdt_system(scratch, 0, 15, 0x0002);
  expect_fault(run(k, CODE("lldt ax"), {.rax = scratch}), vec::np, scratch, 0);
  line("lldt_ti");
  expect_fault(run(k, CODE("lldt ax"), {.rax = 0x0c}), vec::gp, 0x0c, 0);
  line("lldt_null");
  expect_done(run(k, CODE("lldt ax"), {.rax = 0}));
  expect_fault(run(u, CODE("mov es, eax"), {.rax = 0x0f}), vec::gp, 0x0c, 0);
}

CASE(tss) {
  line("busy_after_ltr");
  expect("type", gdt[TSS_SELECTOR / 8] >> 40 & 0x1f, 0x0b);
  line("str");
  expect("str", run(k, CODE("str eax")).gpr[0], TSS_SELECTOR);
  line("ltr_busy");
  expect_fault(run(k, CODE("ltr ax"), {.rax = TSS_SELECTOR}), vec::gp, TSS_SELECTOR, 0);
  line("ltr_null");
  expect_fault(run(k, CODE("ltr ax"), {.rax = 0}), vec::gp, 0, 0);
  line("ltr_data");
  expect_fault(run(k, CODE("ltr ax"), {.rax = KERNEL_DS}), vec::gp, KERNEL_DS, 0);
  line("ltr_not_present");
  set_gdt_system(scratch, 0, 103, 0x0009);
  expect_fault(run(k, CODE("ltr ax"), {.rax = scratch}), vec::np, scratch, 0);
  line("rsp0_beyond_tss_limit");  // 6.14.4: #TS(TSS selector), EXT clear for INT n
  set_gdt_system(scratch, reinterpret_cast<u64>(&::tss), 10, attr_tss);
  asm volatile("ltr %w0" ::"r"(u64{scratch}));
  set_gate(0x50, stub_of(0x50), KERNEL_CS, 14, 3);
  set_gate(10, stub_of(10), KERNEL_CS, 14, 0, 0);
  for (unsigned v : {8u, 10u, 13u}) set_gate(v, stub_of(v), KERNEL_CS, 14, 0, 0);
  // From CPL 0 no stack is needed; an IST beyond the limit is.
  set_gate(0x50, stub_of(0x50), KERNEL_CS, 14, 3, 1);
  expect_fault(run(k, CODE("int 0x50")), vec::ts, scratch, 0);
}

// Descriptor table registers: limits and bases round trip; a non-canonical base is #GP(0).
CASE(table_registers) {
  cpu::TableRegister r{};
  asm volatile("sgdt %0" : "=m"(r));
  expect("gdt_limit", r.limit, sizeof gdt - 1);
  expect("gdt_base", r.base, reinterpret_cast<u64>(gdt));
  asm volatile("sidt %0" : "=m"(r));
  expect("idt_limit", r.limit, sizeof idt - 1);
  expect("idt_base", r.base, reinterpret_cast<u64>(idt));
  line("lgdt_noncanonical");
  const cpu::TableRegister bad{0xff, noncanonical};
  expect_fault(attempt([&] { asm volatile("lgdt %0" ::"m"(bad)); }), vec::gp, 0);
  line("lidt_noncanonical");
  expect_fault(attempt([&] { asm volatile("lidt %0" ::"m"(bad)); }), vec::gp, 0);
}
