// A ring-0 payload: a list of cases, each of which runs instructions under an exception catcher and compares what
// happened with what the manual says. Reports on COM1:
//
//   CASE name: field=found field=found … ok
//   CASE name: field=found(expected …) … FAIL
//   DONE cases=N failures=M
//
// and then powers the machine off. Every case starts from the same baseline: flat 64-bit mode at CPL 0, interrupts off,
// fresh page tables, GDT, IDT and TSS.
#pragma once

#include "cpu.hpp"
#include "machine.hpp"

extern "C" void* memcpy(void* to, const void* from, u64 n);
extern "C" void* memset(void* to, int value, u64 n);

struct CaseEntry {
  const char* name;
  void (*body)();
  unsigned line;  ///< cases run in the order of their lines
};

#define CASE(name)                                                                                      \
  static void case_##name();                                                                            \
  static const CaseEntry entry_##name = {#name, case_##name, __LINE__};                                 \
  __attribute__((section("cases"), used)) static const CaseEntry* const pointer_##name = &entry_##name; \
  static void case_##name()

// ---- reporting

/// Starts a further CASE line, "case/name", in the running case.
void line(const char* name);
/// Compares and reports a field.
void expect(const char* field, u64 found, u64 expected);
/// True if the processor under the payload is QEMU's TCG.
bool on_tcg();
/// Ends the line as "skipped (reason)"; for what QEMU lacks or cannot survive.
void skip(const char* reason);
/// True if the processor has the feature. If not: skipped on TCG, a failure on any other.
bool need(bool feature, const char* name);
/// Prints plain text to the console.
void print(const char* text);
void print_hex(u64 v);
[[noreturn]] void power_off();

// ---- the catcher

/// What the stubs push: general registers in encoding order (RSP's slot is the handler's own), then the CPU's frame.
struct Frame {
  u64 gpr[16];
  u64 vector, error, rip, cs, rflags, rsp, ss;
};

/// A trap as it was caught.
struct Trap : Frame {
  u64 cr2, dr6;
  u64 stack;           ///< RSP in the handler before the processor pushed SS
  u64 offset() const;  ///< RIP from the start of the code that run() placed; at `done`: of the INT itself
};

/// Registers that code starts with.
struct Context {
  u64 gpr[16];
  u64 data;  ///< selector of DS and ES
  u64 rip, cs, rflags, rsp, ss;
};
static_assert(__builtin_offsetof(Context, ss) == 168);

extern "C" void enter(const Context* context);
extern "C" bool attempt_call(void (*function)(void*), void* argument);
extern "C" u64 recover_rsp;
extern "C" const u8 enter_iret[];
extern Trap last_trap;

/// Called for a vector before the catcher takes it; true: resume where it happened.
using Hook = bool (*)(Frame&);
void set_hook(u64 vector, Hook hook);

/// Instruction bytes. CODE("mov eax, 1") assembles them, in Intel syntax.
struct Code {
  const u8* begin;
  const u8* end;
};
#define CODE_WIDE(width, text)                                                                             \
  __extension__({                                                                                          \
    const u8 *begin_, *end_;                                                                               \
    asm(".pushsection .rodata.code,\"a\"\n.intel_syntax noprefix\n.code" width "\n771:\n" text             \
        "\n772:\n.code64\n.att_syntax prefix\n.popsection\n leaq 771b(%%rip), %0\n leaq 772b(%%rip), %1\n" \
        : "=r"(begin_), "=r"(end_));                                                                       \
    Code{begin_, end_};                                                                                    \
  })
#define CODE(text) CODE_WIDE("64", text)
#define CODE32(text) CODE_WIDE("32", text)

enum class Mode { kernel64, kernel32, user64, user32 };

struct Regs {
  u64 rax = 0, rcx = 0, rdx = 0, rbx = 0, rbp = 0, rsi = 0, rdi = 0, r8 = 0, r9 = 0;
};

/// Places the code at code_va, runs it in `mode` up to its end (vector `done`) or its first unresumed trap.
Trap run(Mode mode, Code code, const Regs& regs = {}, u64 rflags = flag::fixed);
/// The context that run() would use, for cases that change more of it.
Context context_for(Mode mode, const Regs& regs = {}, u64 rflags = flag::fixed);
void place_code(Code code);
Trap run_context(const Context& context);

/// Runs a callable under the catcher; vector `none` if nothing happened.
template <class F>
Trap attempt(F body) {
  last_trap.vector = vec::none;
  last_trap.error = 0;
  attempt_call([](void* p) { (*static_cast<F*>(p))(); }, &body);
  return last_trap;
}

/// Reports vector, error code and, for code placed by run(), the offset of RIP.
void expect_fault(const Trap& trap, u64 vector, u64 error, u64 offset);
void expect_fault(const Trap& trap, u64 vector, u64 error);
/// Reports a #PF with its error code and CR2.
void expect_page_fault(const Trap& trap, u64 error, u64 address);
void expect_done(const Trap& trap);
