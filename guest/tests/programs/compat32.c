// A 32-bit program on a 64-bit kernel (compatibility mode): its system calls by INT 0x80 and by the vDSO's SYSENTER or
// SYSCALL, segments from the GDT, instructions that 64-bit mode has not, signals, and a far jump into 64-bit mode and
// back. No C library.
#include <stdint.h>

enum { sys_exit = 1, sys_write = 4, sys_getpid = 20, sys_kill = 37, sys_sigaction = 174, sys_set_thread_area = 243 };

static int failures;

static int call(int number, long a, long b, long c, long d) {
  int result;
  asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}

static uint32_t vdso_entry;

static int fast_call(int number) {
  int result;
  asm volatile("call *%1" : "=a"(result) : "r"(vdso_entry), "a"(number) : "memory", "ecx", "edx");
  return result;
}

static void print(const char* text) {
  int length = 0;
  while (text[length]) length++;
  call(sys_write, 1, (long)text, length, 0);
}

static void check(const char* name, int right) {
  print(right ? "TEST compat32/" : "FAIL compat32/");
  print(name);
  print(right ? ": ok\n" : "\n");
  failures += !right;
}

// Decimal adjustment and the like are #UD in 64-bit mode (SDM volume 2, each instruction's page).
static void old_instructions(void) {
  uint8_t al = 0x38;
  asm("add $0x45, %0; daa" : "+a"(al) : : "cc");
  check("daa", al == 0x83);
  al = 0x35;
  asm("sub $0x47, %0; das" : "+a"(al) : : "cc");
  check("das", al == 0x88);
  uint16_t ax = 0x000f;
  asm("aaa" : "+a"(ax) : : "cc");
  check("aaa", ax == 0x0105);
  ax = 63;
  asm("aam" : "+a"(ax) : : "cc");
  check("aam", ax == 0x0603);
  asm("aad" : "+a"(ax) : : "cc");
  check("aad", ax == 63);
  uint32_t before = 0x11223344, after = 0;
  asm("mov %1, %%esi; pusha; xor %%esi, %%esi; popa; mov %%esi, %0" : "=r"(after) : "r"(before) : "esi");
  check("pusha-popa", after == before);
  uint32_t inc = 0xffffffff;
  asm("inc %0" : "+r"(inc) : : "cc");
  check("inc-wraps", inc == 0);
}

static void arithmetic(void) {
  volatile uint32_t big = 0xfffffff1;
  const uint64_t product = (uint64_t)big * 0x12345678;
  check("mul64", product == 0x12345676eeeeeef8ull);
  volatile double third = 1.0;
  third /= 3.0;
  check("x87", third == 0x1.5555555555555p-2);
  volatile double large = 123456789012.75;
  check("x87-integer", (int64_t)large == 123456789012);
}

struct user_desc {
  uint32_t entry, base, limit, flags;
};

static void thread_area(void) {
  static uint32_t area[4] = {0xcafe, 1, 2, 3};
  struct user_desc description = {0xffffffff, (uint32_t)area, 0xfffff, 0x51};  // 32-bit, pages, usable
  check("set-thread-area", call(sys_set_thread_area, (long)&description, 0, 0, 0) == 0);
  uint32_t value;
  const uint32_t selector = description.entry * 8 + 3;
  asm volatile("mov %1, %%gs; mov %%gs:0, %0" : "=r"(value) : "r"(selector));
  check("gs-segment", value == 0xcafe);
}

static volatile int signalled;
static void handler(int signal) { signalled = signal; }

static void signals(void) {
  struct {
    void (*handler)(int);
    uint32_t flags, restorer, mask[2];
  } action = {handler, 0, 0, {0, 0}};
  check("sigaction", call(sys_sigaction, 10, (long)&action, 0, 8) == 0);
  call(sys_kill, call(sys_getpid, 0, 0, 0, 0), 10, 0, 0);
  check("signal", signalled == 10);
}

static void mode_switch(void) {
  uint32_t high = 0;
  // Linux's user code segments: 0x33 is 64-bit, 0x23 compatibility mode.
  asm volatile(
      "ljmp $0x33, $1f\n"
      ".code64\n"
      "1: movabs $0x1234567890abcdef, %%rax; shr $32, %%rax; mov %%eax, %0\n"
      "push $0x23; lea 2f(%%rip), %%rax; push %%rax; lretq\n"
      ".code32\n"
      "2:\n"
      : "=r"(high)
      :
      : "eax", "memory");
  check("mode-switch", high == 0x12345678);
}

__attribute__((used)) static void start(uint32_t* stack) {
  uint32_t* entry = stack + 1 + stack[0] + 1;
  while (*entry++) {
  }
  for (; entry[0]; entry += 2)
    if (entry[0] == 32) vdso_entry = entry[1];  // AT_SYSINFO
  const int pid = call(sys_getpid, 0, 0, 0, 0);
  check("int80", pid > 0);
  check("vdso-call", vdso_entry && fast_call(sys_getpid) == pid);
  old_instructions();
  arithmetic();
  thread_area();
  signals();
  mode_switch();
  call(sys_exit, failures != 0, 0, 0, 0);
}

asm(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call start\n");
