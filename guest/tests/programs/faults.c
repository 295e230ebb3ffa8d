// Faults as signals: each exception reaches the program with the signal, code and address that the kernel derives from
// the processor's vector, error code and CR2.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"

#define GROUP "faults"

static sigjmp_buf back;
static volatile sig_atomic_t seen_signal, seen_code;
static void* volatile seen_address;
static volatile long seen_error, seen_trap;

static void handler(int signal, siginfo_t* info, void* context) {
  const ucontext_t* user = context;
  seen_signal = signal;
  seen_code = info->si_code;
  seen_address = info->si_addr;
  seen_error = user->uc_mcontext.gregs[REG_ERR];
  seen_trap = user->uc_mcontext.gregs[REG_TRAPNO];
  siglongjmp(back, 1);
}

// Runs the statement and compares the signal, its code, and the processor's vector.
#define EXPECT(name, signal_, code_, vector, statement)                                            \
  do {                                                                                             \
    seen_signal = 0;                                                                               \
    if (!sigsetjmp(back, 1)) {                                                                     \
      statement;                                                                                   \
    }                                                                                              \
    check(GROUP, name, seen_signal == (signal_) && seen_code == (code_) && seen_trap == (vector)); \
  } while (0)

static void page_faults(void) {
  uint8_t* page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  volatile uint8_t* byte = page + 0x123;
  EXPECT("write-protected", SIGSEGV, SEGV_ACCERR, 14, *byte = 1);
  check(GROUP, "write-protected-address", seen_address == page + 0x123);
  check(GROUP, "write-protected-error-code", (seen_error & 0x16) == 0x6);  // user, write, no fetch
  EXPECT("no-execute", SIGSEGV, SEGV_ACCERR, 14, ((void (*)(void))page)());
  check(GROUP, "no-execute-error-code", (seen_error & 0x14) == 0x14);  // user, instruction fetch
  mprotect(page, 4096, PROT_NONE);
  EXPECT("no-access", SIGSEGV, SEGV_ACCERR, 14, (void)*byte);
  munmap(page, 4096);
  EXPECT("unmapped", SIGSEGV, SEGV_MAPERR, 14, (void)*byte);
  volatile uint64_t* kernel = (uint64_t*)0xffffffff81000000;
  EXPECT("kernel-address", SIGSEGV, SEGV_MAPERR, 14, (void)*kernel);
  volatile uint64_t* odd = (uint64_t*)0x8000000000000000;
  EXPECT("non-canonical", SIGSEGV, SI_KERNEL, 13, (void)*odd);
}

static void instruction_faults(void) {
  volatile int zero = 0, one = 1;
  EXPECT("divide", SIGFPE, FPE_INTDIV, 0, one = one / zero);
  EXPECT("undefined", SIGILL, ILL_ILLOPN, 6, asm volatile("ud2"));
  EXPECT("privileged", SIGSEGV, SI_KERNEL, 13, asm volatile("hlt"));
  EXPECT("port", SIGSEGV, SI_KERNEL, 13, asm volatile("outb %%al, $0x80" ::"a"(0)));
  EXPECT("misaligned-sse", SIGSEGV, SI_KERNEL, 13, asm volatile("movaps %%xmm0, 1(%%rsp)" ::: "memory"));
  EXPECT("breakpoint", SIGTRAP, SI_KERNEL, 3, asm volatile("int3"));
  EXPECT("single-step", SIGTRAP, TRAP_TRACE, 1,
         asm volatile("pushf; orl $0x100, (%%rsp); popf; nop; nop" ::
                          : "memory", "cc"));
  EXPECT("selector", SIGSEGV, SI_KERNEL, 13, asm volatile("mov %0, %%ds" ::"r"((uint16_t)0x1233)));
  check(GROUP, "selector-error-code", seen_error == 0x1230);
}

// A debugger steps a child through a loop and counts; then a hardware watchpoint stops it at a store.
static volatile long watched;

static void tracing(void) {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    watched = 7;
    _exit(0);
  }
  int status = 0, steps = 0;
  waitpid(child, &status, 0);
  for (; steps < 20 && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0; steps++) {
    waitpid(child, &status, 0);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) break;
  }
  check(GROUP, "ptrace-steps", steps == 20);
  const size_t dr = offsetof(struct user, u_debugreg);
  ptrace(PTRACE_POKEUSER, child, dr, &watched);
  ptrace(PTRACE_POKEUSER, child, dr + 7 * sizeof(long), 0xd0001L);  // DR7: breakpoint 0, four bytes, on writes
  ptrace(PTRACE_CONT, child, NULL, NULL);
  waitpid(child, &status, 0);
  check(GROUP, "watchpoint",
        WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && ptrace(PTRACE_PEEKDATA, child, &watched, NULL) == 7);
  ptrace(PTRACE_CONT, child, NULL, NULL);
  waitpid(child, &status, 0);
  check(GROUP, "ptrace-ends", WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  for (const int* signal = (int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, 0}; *signal; signal++)
    sigaction(*signal, &action, NULL);
  page_faults();
  instruction_faults();
  tracing();
  return failures != 0;
}
