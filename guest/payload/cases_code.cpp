// Instruction fetch: self- and cross-modifying code on one processor (SDM vol. 3A, 8.1.3), code that crosses pages,
// page faults and limits in the middle of an instruction.
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64;
constexpr u64 pages = window_va + 0x20000;
constexpr u64 user_page = pte::p | pte::w | pte::u;

/// Copies code to any mapped place, ended by INT 0x81.
void place_at(u64 va, Code code) {
  u64 to = va;
  for (const u8* p = code.begin; p != code.end; p++) at<u8>(to++) = *p;
  at<u8>(to++) = 0xcd;
  at<u8>(to) = 0x81;
}

Trap run_at(Mode mode, u64 va, const Regs& regs = {}) {
  Context x = context_for(mode, regs);
  x.rip = va;
  return run_context(x);
}

}  // namespace

// A store into the next instruction of the same block, by its own linear address, is seen at once.
CASE(next_instruction_of_the_same_block) {
  // mov byte [rip + x], imm8 changes the immediate of the MOV behind it.
  Trap t = run(u, CODE("mov byte ptr [rip + 1f], 0x22; .byte 0xb8; 1: .long 0x11"));
  expect("rax", t.gpr[0], 0x22);
}

CASE(code_already_executed) {
  Trap t = run(u, CODE("xor esi, esi; 4: .byte 0xb8; 3: .long 1; add edx, eax; mov dword ptr [rip + 3b], 10; inc esi; "
                       "cmp esi, 3; jne 4b"));
  expect_done(t);
  expect("rdx", t.gpr[2], 1 + 10 + 10);
}

CASE(next_block) {
  Trap t = run(u, CODE("mov byte ptr [rip + 3f], 0x33; jmp 2f; 2: .byte 0xb8; 3: .long 0x11"));
  expect("rax", t.gpr[0], 0x33);
}

CASE(called_function) {
  Trap t = run(u, CODE("call 4f; mov edx, eax; mov byte ptr [rip + 3f], 0x44; call 4f; jmp 5f; 4: .byte 0xb8; 3: .long "
                       "0x11; ret; 5:"));
  expect("first", t.gpr[2], 0x11);
  expect("second", t.gpr[0], 0x44);
}

// Stores of every width, and by strings and locked operations.
CASE(store_kinds) {
  static const struct {
    const char* name;
    Code code;
  } rows[] = {
      {"byte", CODE("mov byte ptr [rip + 3f], 0x55; jmp 2f; 2: .byte 0xb8; 3: .long 0x11")},
      {"quad", CODE("mov rax, [rbx]; mov [rip + 2f], rax; jmp 2f; 2: .byte 0xb8; 3: .long 0x11; nop; nop; nop")},
      {"rep_movsb", CODE("mov rsi, rbx; lea rdi, [rip + 2f]; mov ecx, 8; rep movsb; jmp 2f; 2: .byte 0xb8; 3: .long "
                         "0x11; nop; nop; nop")},
      {"stosq",
       CODE("mov rax, [rbx]; lea rdi, [rip + 2f]; stosq; jmp 2f; 2: .byte 0xb8; 3: .long 0x11; nop; nop; nop")},
      {"locked", CODE("mov eax, 0x44; lock xadd [rip + 3f], eax; jmp 2f; 2: .byte 0xb8; 3: .long 0x11")},
      {"movaps", CODE("movups xmm0, [rbx]; movups [rip + 2f], xmm0; jmp 2f; 2: .byte 0xb8; 3: .long 0x11; nop; nop; "
                      "nop; nop; nop; nop; nop; nop; nop; nop; nop")},
      {"push", CODE("mov rax, [rbx]; mov rdi, rsp; lea rsp, [rip + 2f + 8]; push rax; mov rsp, rdi; jmp 2f; 2: .byte "
                    "0xb8; 3: .long 0x11; nop; nop; nop")},
  };
  static constexpr u8 patch[] = {0xb8, 0x55, 0, 0, 0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
  for (unsigned i = 0; i < sizeof patch; i++) at<u8>(data_va + i) = patch[i];
  for (const auto& row : rows) {
    line(row.name);
    Trap t = run(u, row.code, {.rbx = data_va});
    expect_done(t);
    expect("rax", t.gpr[0], 0x55);
  }
}

// Through another mapping of the same page: seen after a serialising instruction or jump; we ask after IRET.
CASE(other_mapping) {
  const u64 frame = new_frame();
  map(pages, frame, user_page);
  map(pages + 0x1000, frame, user_page);
  place_at(pages, CODE("mov eax, 1"));
  expect("first", run_at(u, pages).gpr[0], 1);
  at<u32>(pages + 0x1001) = 2;
  expect("by_alias", run_at(u, pages).gpr[0], 2);
  at<u32>(frame + 1) = 3;
  expect("one_to_one", run_at(u, pages).gpr[0], 3);
  line("from_inside");
  place_at(pages, CODE("mov dword ptr [rbx], 0x77; cpuid; .byte 0xb8; .long 1"));
  Trap t = run_at(u, pages, {.rbx = pages + 0x1000 + 9});
  expect("rax", t.gpr[0], 0x77);
}

// Remapping: the code at a linear address is what the tables say after INVLPG.
CASE(remapped_page) {
  map(pages, new_frame(), user_page);
  place_at(pages, CODE("mov eax, 1"));
  expect("first", run_at(u, pages).gpr[0], 1);
  map(pages, new_frame(), user_page);
  place_at(pages, CODE("mov eax, 2"));
  expect("second", run_at(u, pages).gpr[0], 2);
  line("by_cr3");
  u64 third = new_frame();
  map(pages + 0x1000, third, user_page);
  place_at(pages + 0x1000, CODE("mov eax, 3"));
  *entry_of(pages) = third | user_page;
  cpu::flush_tlb();
  expect("third", run_at(u, pages).gpr[0], 3);
}

CASE(same_bytes_in_two_modes) {
  // 48 ff c0: INC RAX in 64-bit mode; DEC EAX, INC EAX in compatibility mode.
  line("64_bit");
  expect("rax", run(u, CODE("inc rax"), {.rax = 0xffffffff}).gpr[0], 0x100000000);
  line("compatibility");
  place_code(CODE("inc rax"));
  expect("rax", run_context(context_for(Mode::user32, {.rax = 0xffffffff})).gpr[0], 0xffffffff);
  line("64_bit_again");
  expect("rax", run_context(context_for(u, {.rax = 0xffffffff})).gpr[0], 0x100000000);
}

CASE(supervisor_code_and_user_code_share_bytes) {
  line("user");
  expect_fault(run(u, CODE("cli")), vec::gp, 0, 0);
  line("supervisor");
  expect_done(run(k, CODE("cli")));
  line("user_again");
  expect_fault(run(u, CODE("cli")), vec::gp, 0, 0);
}

// An instruction over a page boundary: executed whole, or #PF with CR2 at the second page and RIP at its first byte.
CASE(crossing_pages) {
  map(pages, new_frame(), user_page);
  map(pages + 0x1000, new_frame(), user_page);
  place_at(pages + 0xffd, CODE("mov eax, 0x12345678"));
  expect("rax", run_at(u, pages + 0xffd).gpr[0], 0x12345678);
  line("second_page_modified");
  at<u8>(pages + 0x1001) = 0x99;
  expect("rax", run_at(u, pages + 0xffd).gpr[0], 0x99345678);
  line("second_page_missing");
  map(pages + 0x1000, 0, 0);
  Trap t = run_at(u, pages + 0xffd);
  expect_page_fault(t, 0x14, pages + 0x1000);
  expect("rip", t.rip, pages + 0xffd);
  line("second_page_no_execute");
  map(pages + 0x1000, new_frame(), user_page | pte::nx);
  t = run_at(u, pages + 0xffd);
  expect_page_fault(t, 0x15, pages + 0x1000);
  expect("rip", t.rip, pages + 0xffd);
  line("ends_at_the_boundary");
  place_at(pages + 0xff8, CODE("mov eax, 5; int 0x81"));
  expect("vector", run_at(u, pages + 0xff8).vector, vec::done);
}

// Only bytes that the instruction has are fetched: the last one before a missing page runs.
CASE(last_instruction_before_a_missing_page) {
  map(pages, new_frame(), user_page);
  at<u8>(pages + 0xffe) = 0xcd;
  at<u8>(pages + 0xfff) = 0x81;
  expect("vector", run_at(u, pages + 0xffe).vector, vec::done);
  line("falls_into_it");
  at<u8>(pages + 0xffe) = 0x90;
  at<u8>(pages + 0xfff) = 0x90;
  Trap t = run_at(u, pages + 0xffe);
  expect_page_fault(t, 0x14, pages + 0x1000);
  expect("rip", t.rip, pages + 0x1000);
}

// Data on a page of code: no write is lost while the code on it runs.
CASE(data_next_to_code) {
  Trap t = run(u, CODE("mov ecx, 1000; 2: inc qword ptr [rip + 3f]; dec ecx; jnz 2b; mov rax, [rip + 3f]; jmp 4f; "
                       ".p2align 3; 3: .quad 0; 4:"));
  expect_done(t);
  expect("rax", t.gpr[0], 1000);
}
