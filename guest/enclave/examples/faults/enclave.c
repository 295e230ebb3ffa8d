// Exceptions inside: the processor leaves the enclave, the vDSO reports them to the program, which calls the enclave's
// handler; it looks at the saved state, puts right what it can, and ERESUME goes on.
#include "faults.h"
#include "runtime.h"

enum { VECTOR_DE = 0, VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14 };

static volatile uint64_t last_address, last_error, good = 0x1122334455667788;
static uint8_t touched[2 * 4096] __attribute__((aligned(4096)));

int fault(struct sgx_gprs* registers, const struct sgx_exinfo* information) {
  const uint8_t* code = (const uint8_t*)registers->rip;
  switch (registers->exitinfo & SGX_EXIT_VECTOR) {
    case VECTOR_UD:
      if (code[0] == 0x0f && code[1] == 0x0b) {  // UD2
        registers->rax++;
        registers->rip += 2;
        return 1;
      }
      if (code[0] == 0x0f && code[1] == 0xa2) {  // CPUID, which is not allowed here
        registers->rax = 0x1234;
        registers->rip += 2;
        return 1;
      }
      return 0;
    case VECTOR_DE: registers->rcx = 7; return 1;  // divide again, by seven
    case VECTOR_GP:
      last_address = information->address;
      last_error = information->error_code;
      registers->rbx = (uint64_t)&good;
      return 1;
    default: return 0;
  }
}

uint64_t ecall(struct enclave_call* call) {
  uint64_t a, b = 0, c, d = 0;
  switch (call->function) {
    case UD2:
      a = 41;
      __asm__ volatile("ud2" : "+a"(a));
      return a;
    case CPUID:
      a = 0;
      __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "=c"(c), "+d"(d));
      return a;
    case DIVIDE:
      a = 42;
      c = 0;
      __asm__ volatile("div %%rcx" : "+a"(a), "+c"(c), "+d"(d)::"cc");
      return a;
    case NON_CANONICAL: __asm__ volatile("mov (%1), %0" : "=a"(a), "+b"((uint64_t){1ull << 63})); return a;
    case TOUCH: *(volatile uint8_t*)(touched + 4096 + 0x123) = 5; return (uint64_t)(touched + 4096 - enclave_base);
    case HOPELESS: __asm__ volatile("syscall" ::: "rcx", "r11", "memory"); return 0;
    case LAST_ADDRESS: return last_address;
    case LAST_ERROR: return last_error;
    default: return (uint64_t)(touched + 4096 - enclave_base);
  }
}
