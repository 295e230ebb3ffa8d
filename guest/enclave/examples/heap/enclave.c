// Memory that comes and goes while the enclave runs (SGX2). New pages are pending until the enclave accepts them; so
// are changes that the kernel makes: restricted permissions, and pages to be trimmed.
#include "heap.h"
#include "runtime.h"

enum { PAGE = 4096 };

static uint8_t* dynamic(uint64_t offset) { return enclave_base + enclave_layout.dynamic + offset; }
static int in_room(uint64_t offset, uint64_t bytes) {
  return offset % PAGE == 0 && bytes <= enclave_layout.dynamic_bytes && offset <= enclave_layout.dynamic_bytes - bytes;
}

// EACCEPT for every page: only with exactly these flags. The first touch of an absent page has the kernel add it.
static uint64_t accept(uint64_t offset, uint64_t bytes, uint64_t flags) {
  const struct sgx_secinfo info = {.flags = flags};
  for (uint64_t at = 0; at < bytes; at += PAGE) {
    const uint64_t error = sgx_eaccept(&info, dynamic(offset + at));
    if (error) return error;
  }
  return 0;
}

static uint64_t sum(uint64_t offset, uint64_t bytes) {
  uint64_t total = 0;
  for (const uint8_t* at = dynamic(offset); bytes--; at++) total += *at;
  return total;
}

// A function that returns 42, and then its page with one more permission: EMODPE needs no kernel.
static const uint8_t code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov eax, 42; ret
static void write_code(uint64_t offset) {
  const struct sgx_secinfo info = {.flags = SGX_R | SGX_W | SGX_X | SGX_REG};
  memcpy(dynamic(offset), code, sizeof code);
  sgx_emodpe(&info, dynamic(offset));
}

// An access that faults is given up: the instruction is POKE's, one byte wide, three bytes long.
static volatile uint64_t faults;
static uint64_t poke(uint8_t* at) {
  faults = 0;
  __asm__ volatile("movb $1, (%0)\n\tnop" ::"a"(at) : "memory");
  return faults;
}
int fault(struct sgx_gprs* registers, const struct sgx_exinfo* information) {
  if ((registers->exitinfo & SGX_EXIT_VECTOR) != 14) return 0;
  faults = information->error_code | 1ull << 32;
  registers->rip += 3;
  return 1;
}

uint64_t ecall(struct enclave_call* call) {
  const uint64_t offset = call->argument[0], bytes = call->argument[1];
  if (call->function != WHERE && !in_room(offset, bytes)) return ~0ull;
  switch (call->function) {
    case WHERE: return enclave_layout.dynamic;
    case GROW: return accept(offset, bytes, SGX_R | SGX_W | SGX_PENDING | SGX_REG);
    case FILL: memset(dynamic(offset), (int)call->argument[2], bytes); return 0;
    case SUM: return sum(offset, bytes);
    case WRITE_CODE: write_code(offset); return 0;
    case RUN_CODE: return ((uint64_t(*)(void))dynamic(offset))();
    case ACCEPT: return accept(offset, bytes, call->argument[2]);
    case POKE: return poke(dynamic(offset));
    default: return ~0ull;
  }
}
