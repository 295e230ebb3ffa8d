// Debug exceptions: single step, breakpoints and their priority (SDM vol. 3A, ch. 17.2 and 17.3, table 17-1), shadows
// of STI and MOV SS (6.8.3), DR7.GD, RF, INT1.
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64;
constexpr u64 bs = 1 << 14, bd = 1 << 13, fixed_dr6 = 0xffff0ff0;

struct Step {
  u64 offset, dr6;
};
Step steps[32];
unsigned step_count;

/// Collects #DBs and goes on, so that a run has a list of them.
void collect_steps() {
  step_count = 0;
  set_hook(vec::db, [](Frame& frame) {
    if (step_count < 32) steps[step_count++] = {frame.rip - code_va, cpu::dr6() ^ fixed_dr6};
    cpu::set_dr6(fixed_dr6);
    return true;
  });
}

void expect_steps(std::initializer_list<Step> expected) {
  expect("steps", step_count, expected.size());
  unsigned i = 0;
  for (const Step& s : expected) {
    if (i >= step_count) break;
    expect("at", steps[i].offset, s.offset);
    expect("dr6", steps[i].dr6, s.dr6);
    i++;
  }
}

/// DR7: breakpoint n, enabled globally; rw: 0 fetch, 1 write, 3 read or write; length in bytes.
constexpr u64 enable(unsigned n, unsigned rw, unsigned length) {
  const u64 len = length == 8 ? 2 : length - 1;
  return (u64{2} << (2 * n)) | ((rw | (len << 2)) << (16 + 4 * n));
}

}  // namespace

// ---- 17.3.1.4: single step traps after each instruction; the trap clears TF for the handler.
CASE(single_step) {
  collect_steps();
  Trap t = run(k, CODE("nop; inc eax; push rax; pop rcx"), {}, flag::fixed | flag::tf);
  expect("vector", t.vector, vec::done);
  expect_steps({{1, bs}, {3, bs}, {4, bs}, {5, bs}});
}

CASE(single_step_set_by_popf) {
  collect_steps();
  run(u, CODE("push 0x102; popf; nop; nop; push 2; popf; nop"));
  // After POPF that sets TF, the next instruction is the first to trap; the one that clears it still does.
  expect_steps({{7, bs}, {8, bs}, {10, bs}, {11, bs}});
}

CASE(single_step_over_software_interrupt) {
  set_gate(0x40, stub_of(0x40), KERNEL_CS, 14, 3);
  static u64 flags_inside;
  set_hook(0x40, [](Frame&) {
    flags_inside = cpu::rflags();
    return true;
  });
  collect_steps();
  run(u, CODE("nop; int 0x40; nop"), {}, flag::fixed | flag::tf);
  expect("tf_inside", flags_inside & flag::tf, 0);
  // INT clears TF, so it does not trap itself (17.3.1.4); IRET restores TF, and the instruction after it traps.
  expect_steps({{1, bs}, {4, bs}});
}

CASE(single_step_over_fault) {
  collect_steps();
  Trap t = run(u, CODE("nop; ud2"), {}, flag::fixed | flag::tf);
  expect_fault(t, vec::ud, 0, 1);
  expect("saved_tf", t.rflags & flag::tf, flag::tf);
  expect_steps({{1, bs}});
}

CASE(single_step_of_syscall) {
  cpu::wrmsr(0xc0000081, (u64{0x20 | 3} << 48) | (u64{KERNEL_CS} << 32));
  cpu::wrmsr(0xc0000082, code_va + 32);
  cpu::wrmsr(0xc0000084, flag::tf);
  collect_steps();
  run(u, CODE("syscall; nop; int 0x81; .org 771b+32; nop; rex.w sysret"), {}, flag::fixed | flag::tf);
  // TF is masked: no trap in the kernel; SYSRET restores TF, and the instruction after it is the first to trap.
  expect("steps", step_count > 0, 1);
  expect("last", steps[step_count - 1].offset, 3);
}

// REP strings: a trap after each iteration, RIP at the instruction until the last (17.3.1.4 and REP, vol. 2B).
CASE(single_step_of_rep) {
  collect_steps();
  run(u, CODE("rep stosb; nop"), {.rcx = 3, .rdi = data_va}, flag::fixed | flag::tf);
  expect_steps({{0, bs}, {0, bs}, {2, bs}, {3, bs}});
}

CASE(single_step_of_rep_zero) {
  collect_steps();
  run(u, CODE("rep stosb; nop"), {.rcx = 0, .rdi = data_va}, flag::fixed | flag::tf);
  expect_steps({{2, bs}, {3, bs}});
}

// MOV SS and POP SS inhibit the single-step trap at the boundary after them (6.8.3).
CASE(single_step_mov_ss_shadow) {
  collect_steps();
  run(k, CODE("mov eax, ss; mov ss, eax; nop; nop"), {}, flag::fixed | flag::tf);
  expect_steps({{2, bs}, {5, bs}, {6, bs}});
}

// STI does not inhibit debug exceptions.
CASE(single_step_sti) {
  collect_steps();
  run(k, CODE("sti; nop; cli; nop"), {}, flag::fixed | flag::tf);
  expect_steps({{1, bs}, {2, bs}, {3, bs}, {4, bs}});
}

CASE(single_step_branches) {
  collect_steps();
  run(u, CODE("jmp 2f; nop; 2: test eax, eax; jnz 3f; jz 3f; nop; 3: nop"), {}, flag::fixed | flag::tf);
  expect_steps({{3, bs}, {5, bs}, {7, bs}, {10, bs}, {11, bs}});
}

// ---- 17.2.4 and 17.3.1.1: instruction breakpoints are faults, before the instruction; RF suppresses them once.
CASE(code_breakpoint) {
  cpu::set_dr0(code_va + 1);
  cpu::set_dr7(0x400 | enable(0, 0, 1));
  Trap t = run(u, CODE("nop; inc eax; nop"));
  expect_fault(t, vec::db, 0, 1);
  expect("dr6", t.dr6, fixed_dr6 | 1);
  expect("rax", t.gpr[0], 0);
  line("rf_lets_it_pass");
  cpu::set_dr6(fixed_dr6);
  Context x = context_for(u, {}, flag::fixed | flag::rf);
  x.rip = code_va + 1;
  t = run_context(x);
  expect_done(t);
  expect("rax", t.gpr[0], 1);
  expect("rf_is_cleared", t.rflags & flag::rf, 0);
}

CASE(code_breakpoint_disabled) {
  cpu::set_dr0(code_va + 1);
  cpu::set_dr7(0x400);
  expect_done(run(u, CODE("nop; inc eax")));
}

CASE(code_breakpoint_in_a_loop) {
  collect_steps();
  set_hook(vec::db, [](Frame& frame) {
    steps[step_count++] = {frame.rip - code_va, cpu::dr6() ^ fixed_dr6};
    cpu::set_dr6(fixed_dr6);
    frame.rflags |= flag::rf;
    return true;
  });
  cpu::set_dr3(code_va + 2);
  cpu::set_dr7(0x400 | enable(3, 0, 1));
  Trap t = run(u, CODE("inc eax; dec ecx; jnz 771b"), {.rcx = 3});
  expect_done(t);
  expect("rax", t.gpr[0], 3);
  expect_steps({{2, 8}, {2, 8}, {2, 8}});
}

// Data breakpoints are traps: RIP after the access; any overlap with the watched bytes counts.
CASE(data_breakpoints) {
  static const struct {
    const char* name;
    unsigned rw, length;
    u64 address;
    Code code;
    bool hits;
    u64 offset;
  } rows[] = {
      {"write_hits_write", 1, 4, data_va, CODE("mov [rbx], eax; nop"), true, 2},
      {"read_misses_write", 1, 4, data_va, CODE("mov eax, [rbx]; nop"), false, 0},
      {"read_hits_read_write", 3, 4, data_va, CODE("mov eax, [rbx]; nop"), true, 2},
      {"write_hits_read_write", 3, 1, data_va, CODE("mov [rbx], al; nop"), true, 2},
      {"overlap_from_below", 1, 2, data_va + 2, CODE("mov [rbx], eax; nop"), true, 2},
      {"next_to_it", 1, 2, data_va + 4, CODE("mov [rbx], eax; nop"), false, 0},
      {"eight_bytes", 1, 8, data_va, CODE("mov [rbx+7], al; nop"), true, 3},
      {"push", 1, 8, stack_top - 8, CODE("push rax; nop"), true, 1},
      {"fetch_misses", 3, 1, code_va, CODE("nop; nop"), false, 0},
      {"unaligned_address_is_rounded", 1, 4, data_va + 3, CODE("mov [rbx], al; nop"), true, 2},
      {"locked", 1, 4, data_va, CODE("lock inc dword ptr [rbx]; nop"), true, 3},
      {"sse_store", 1, 1, data_va + 15, CODE("movaps [rbx], xmm0; nop"), true, 3},
  };
  for (const auto& row : rows) {
    line(row.name);
    cpu::set_dr6(fixed_dr6);
    cpu::set_dr2(row.address);
    cpu::set_dr7(0x400 | enable(2, row.rw, row.length));
    Trap t = run(u, row.code, {.rbx = data_va});
    cpu::set_dr7(0x400);
    expect("vector", t.vector, row.hits ? vec::db : vec::done);
    if (row.hits) {
      expect("rip", t.offset(), row.offset);
      expect("dr6", t.dr6, fixed_dr6 | 4);
    }
  }
}

CASE(data_breakpoint_and_single_step_together) {
  cpu::set_dr1(data_va);
  cpu::set_dr7(0x400 | enable(1, 1, 1));
  Trap t = run(u, CODE("mov [rbx], eax; nop"), {.rbx = data_va}, flag::fixed | flag::tf);
  expect_fault(t, vec::db, 0, 2);
  expect("dr6", t.dr6, fixed_dr6 | bs | 2);
}

// A repeated string stops after the iteration that touched the bytes.
CASE(data_breakpoint_in_rep) {
  cpu::set_dr0(data_va + 2);
  cpu::set_dr7(0x400 | enable(0, 1, 1));
  Trap t = run(u, CODE("rep stosb; nop"), {.rcx = 5, .rdi = data_va});
  expect_fault(t, vec::db, 0, 0);
  expect("rcx", t.gpr[1], 2);
  expect("rdi", t.gpr[7], data_va + 3);
}

// 6.8.3: instruction breakpoints are inhibited on the instruction after MOV SS.
CASE(code_breakpoint_after_mov_ss) {
  cpu::set_dr0(code_va + 4);
  cpu::set_dr7(0x400 | enable(0, 0, 1));
  Trap t = run(k, CODE("mov eax, ss; mov ss, eax; nop"));
  expect("vector", t.vector, vec::done);
}

// ---- 17.2.4: GD faults any MOV DR, clears itself, and sets BD.
CASE(general_detect) {
  cpu::set_dr7(0x400 | (1 << 13));
  Trap t = run(k, CODE("nop; mov rax, dr0"));
  const u64 dr7 = cpu::dr7();
  expect_fault(t, vec::db, 0, 1);
  expect("dr6", t.dr6, fixed_dr6 | bd);
  expect("dr7", dr7, 0x400);
}

// 17.2.2: DR4 and DR5 are DR6 and DR7 unless CR4.DE; then #UD. Upper halves of DR6 and DR7: #GP(0).
CASE(debug_register_rules) {
  line("dr4_is_dr6");
  cpu::set_dr6(fixed_dr6 | 5);
  Trap t = run(k, CODE("mov rax, dr4"));
  if (t.vector == vec::done) expect("value", t.gpr[0], fixed_dr6 | 5);
  expect("vector", t.vector, vec::done);
  line("dr4_with_de");
  cpu::set_cr4(cpu::cr4() | CR4_DE);
  expect_fault(run(k, CODE("mov rax, dr4")), vec::ud, 0, 0);
  line("dr5_with_de");
  expect_fault(run(k, CODE("mov dr5, rax")), vec::ud, 0, 0);
  line("dr6_upper_half");
  expect_fault(run(k, CODE("mov dr6, rax"), {.rax = u64{1} << 32}), vec::gp, 0, 0);
  line("dr7_upper_half");
  expect_fault(run(k, CODE("mov dr7, rax"), {.rax = u64{1} << 63}), vec::gp, 0, 0);
  line("dr7_fixed_bits");
  cpu::set_dr7(0x300);
  expect("dr7", cpu::dr7(), 0x700);
  line("dr0_takes_any_value");
  cpu::set_dr7(0x400);
  cpu::set_dr0(0xfedc'ba98'7654'3210);
  expect("dr0", cpu::dr0(), 0xfedc'ba98'7654'3210);
}

// ---- INT1 (F1): #DB without DR6 bits, a trap, no DPL check (vol. 2A).
CASE(int1) {
  Trap t = run(u, CODE("nop; .byte 0xf1; nop"));
  expect_fault(t, vec::db, 0, 2);
  expect("dr6", t.dr6, fixed_dr6);
}

CASE(int3_rip_and_flags) {
  Trap t = run(k, CODE("int3; nop"), {}, flag::fixed | flag::cf);
  expect_fault(t, vec::bp, 0, 1);
  expect("rf", t.rflags & flag::rf, 0);
}
