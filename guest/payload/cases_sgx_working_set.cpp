// An enclave whose threads use its pages as the ramdisk says (working_set.hpp), for tests and benchmarks of paged EPC.
// Prints AT and three numbers, what the threads read, what the counters had, and pages gone over, after each thing:
// when it begins, when the enclave is built, and after each run.
#include "processors.hpp"
#include "resident.hpp"
#include "sgx/machine.hpp"
#include "working_set.hpp"

extern "C" const u8 boot_pml4[];
extern "C" u64 start_info;

namespace {

using namespace sgx;
using working_set::Header;
using working_set::Run;

const Header* plan;
const u32* order;

// ---- the enclave

alignas(page_bytes) u8 source[page_bytes];
alignas(64) arch::Secinfo secinfo;
alignas(32) arch::Pageinfo pageinfo;
alignas(page_bytes) arch::Sigstruct sigstruct;
alignas(512) arch::Einittoken token;

/// The SECS is the first place of the EPC, and the enclave's pages follow it.
constexpr unsigned secs_place = 0;
constexpr unsigned place_of_page(unsigned page) { return 1 + page; }

/// EENTER leaves in RCX where it goes back to. RDI, RSI: an order; R8: whether to write; R9: the first page. R12 and
/// R13: what it read, and what the counters had.
Code enclave_code() {
  return CODE(
      "mov r15, rcx; xor r12d, r12d; xor r13d, r13d;"
      "1: test rsi, rsi; jz 9f;"
      "mov ebx, [rdi]; add rdi, 4; shl rbx, 12; add rbx, r9; add r13, [rbx];"
      "test r8, r8; jz 2f; lock inc qword ptr [rbx];"
      "2: mov ecx, 64;"
      "3: add r12, [rbx + 8]; add rbx, 64; dec ecx; jnz 3b;"
      "dec rsi; jmp 1b;"
      "9: mov rbx, r15; mov eax, 4; .byte 0x0f, 0x01, 0xd7");
}

void fill(unsigned page) {
  const unsigned data = working_set::data_page(plan->threads);
  if (page > data) {  // but for its number as the one before
    at(address(source) + working_set::word_offset) = working_set::word_of(page - data, 0);
    return;
  }
  memset(source, 0, page_bytes);
  if (page == working_set::code_page) {
    const Code code = enclave_code();
    memcpy(source, code.begin, static_cast<u64>(code.end - code.begin));
  } else if (page == data) {
    for (unsigned i = 0; i < working_set::lines; i++)
      at(address(source) + i * working_set::line_bytes + working_set::word_offset) = working_set::word_of(0, i);
  } else if (page % 2 == 1) {
    auto& tcs = *reinterpret_cast<arch::Tcs*>(source);
    tcs.ossa = (page + 1) * page_bytes;
    tcs.nssa = 1;
    tcs.fslimit = tcs.gslimit = 0xfff;
  }
}

void must(bool good, const char* what) {
  if (good) return;
  print("WRONG ");
  print(what);
  print("\n");
  power_off();
}

/// As Linux does it: every page is added and measured whole, but for the code, which who signed it does not know.
void build_enclave() {
  memset(source, 0, page_bytes);
  auto& secs = *reinterpret_cast<arch::Secs*>(source);
  secs.size = working_set::elrange_bytes(plan->pages, plan->threads);
  secs.base = enclave_base;
  secs.ssa_frame_size = 1;
  secs.attributes = {arch::attributes::mode64bit, 3};
  secinfo = {};
  pageinfo = {.linaddr = 0, .srcpge = address(source), .secinfo = address(&secinfo), .secs = 0};
  encls(arch::EnclsLeaf::ecreate, address(&pageinfo), epc_at(secs_place));
  const unsigned pages = working_set::all_pages(plan->pages, plan->threads);
  pageinfo.secs = epc_at(secs_place);
  for (unsigned page = 0; page < pages; page++) {
    fill(page);
    secinfo.flags = working_set::flags_of(page, plan->threads);
    pageinfo.linaddr = in_enclave(page);
    const u64 epc = epc_at(place_of_page(page));
    encls(arch::EnclsLeaf::eadd, address(&pageinfo), epc);
    for (u64 at = page == working_set::code_page ? page_bytes : 0; at < page_bytes; at += 256)
      encls(arch::EnclsLeaf::eextend, epc_at(secs_place), epc + at);
  }
  sigstruct = plan->sigstruct;
  token = {};
  must(encls(arch::EnclsLeaf::einit, address(&sigstruct), epc_at(secs_place), address(&token)).rax == 0, "EINIT");
}

// ---- threads

struct Found {
  u64 sum, counters;
};

// User mode for as long as the enclave takes: ENCLU, and SYSCALL when it comes out. At the AEP: ERESUME. No stack is
// used there.
asm(R"(
        .section .text.inside, "ax"
        .globl go_inside, come_back
go_inside:                              # order, count, writes, first page, TCS, where the result goes
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushq %r9
        movq %r8, %rbx
        movq %rcx, %r9
        movq %rdx, %r8
        movl $2, %eax
        movq $2, %r11
        movq user_entry(%rip), %rcx
        movq user_aep(%rip), %r14
        sysretq
come_back:
        popq %r9
        movq %r12, (%r9)
        movq %r13, 8(%r9)
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret
        .previous
)");
extern "C" void go_inside(const u32* order, u64 count, u64 writes, u64 data, u64 tcs, Found* found);
extern "C" const u8 come_back[];
extern "C" {
u64 user_entry, user_aep;
}

void prepare_user() {
  // A page of user mode: RCX is the AEP, which comes after SYSCALL.
  const Code code = CODE("mov rcx, r14; .byte 0x0f, 0x01, 0xd7; syscall; .org 771b + 0x20; .byte 0x0f, 0x01, 0xd7");
  memcpy(reinterpret_cast<void*>(physical_of(code_va)), code.begin, static_cast<u64>(code.end - code.begin));
  user_entry = code_va;
  user_aep = code_va + 0x20;
}

/// Of the processor that calls.
void prepare_syscall() {
  cpu::wrmsr(0xc000'0081, u64{USER_CS32} << 48 | u64{KERNEL_CS} << 32);
  cpu::wrmsr(0xc000'0082, address(come_back));
}

Found found[working_set::most_threads];

void go(unsigned thread, const Run& run) {
  found[thread] = {};
  for (unsigned i = 0; i < run.times; i++) {
    Found one;
    go_inside(order + run.first + u64{run.count} * thread, run.count, run.writes,
              in_enclave(working_set::data_page(plan->threads)), in_enclave(working_set::tcs_page(thread)), &one);
    found[thread].sum += one.sum;
    found[thread].counters += one.counters;
  }
}

u64 root;
volatile unsigned begun, ended;  ///< runs that the other threads may do; other threads that have done them, of all runs

void other_thread(unsigned number) {
  if (number >= plan->threads) return;
  cpu::set_cr3(root);
  prepare_syscall();
  for (unsigned i = 0; i < plan->runs; i++) {
    while (begun <= i) asm volatile("pause");
    go(number, plan->run[i]);
    __atomic_fetch_add(&ended, 1, __ATOMIC_SEQ_CST);
  }
  for (;;) asm volatile("hlt");
}

void say(u64 sum, u64 counters, u64 touched) {
  print("AT ");
  print_hex(sum);
  print(" ");
  print_hex(counters);
  print(" ");
  print_hex(touched);
  print("\n");
}

}  // namespace

CASE(working_set) {
  baseline();
  const u64 modules = at(start_info + 16);
  plan = reinterpret_cast<const Header*>(at(modules));
  // The enclave reads it, too.
  for (u64 offset = 0; offset < at(modules + 8); offset += page_bytes)
    map(window_va + offset, address(plan) + offset, pte::p | pte::u);
  order = reinterpret_cast<const u32*>(window_va + sizeof(Header));
  for (u32 i = 0; i < 4; i++) cpu::wrmsr(0x8c + i, reinterpret_cast<const u64*>(plan->signer)[i]);
  for (unsigned page = 0; page < working_set::all_pages(plan->pages, plan->threads); page++)
    map_enclave_page(page, place_of_page(page));
  prepare_user();
  prepare_syscall();
  root = cpu::cr3();

  say(0, 0, 0);
  build_enclave();
  say(0, 0, 0);
  if (plan->threads > 1) processors::start(other_thread);
  for (unsigned i = 0; i < plan->runs; i++) {
    const Run& run = plan->run[i];
    begun = i + 1;
    go(0, run);
    while (ended < (i + 1) * (plan->threads - 1)) asm volatile("pause");
    Found all{};
    for (unsigned thread = 0; thread < plan->threads; thread++) {
      all.sum += found[thread].sum;
      all.counters += found[thread].counters;
    }
    say(all.sum, all.counters, u64{run.count} * run.times * plan->threads);
  }
}
