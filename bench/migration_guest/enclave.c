// An enclave that uses all of its memory all the time: of each page it increases one number, and knows what it must be.
#include "hot.h"
#include "runtime.h"

enum { PAGE = 4096 };

static uint64_t* page(uint64_t number) {
  return (uint64_t*)(enclave_base + enclave_layout.dynamic + number * PAGE) + number % (PAGE / 8);
}

// So many rounds; which page was wrong, and one, or 0.
static uint64_t hot(uint64_t pages, uint64_t rounds, uint64_t before) {
  for (uint64_t round = 0; round < rounds; round++) {
    for (uint64_t number = 0; number < pages; number++) {
      if (*page(number) != before + round) return number + 1;
      *page(number) = before + round + 1;
    }
  }
  return 0;
}

uint64_t ecall(struct enclave_call* call) {
  const struct sgx_secinfo info = {.flags = SGX_R | SGX_W | SGX_PENDING | SGX_REG};
  const uint64_t pages = call->argument[0];
  if (call->function == WHERE) return enclave_layout.dynamic;
  if (pages > enclave_layout.dynamic_bytes / PAGE) return ~0ull;
  if (call->function == HOT) return hot(pages, call->argument[1], call->argument[2]);
  for (uint64_t number = 0; number < pages; number++) {
    const uint64_t error = sgx_eaccept(&info, enclave_base + enclave_layout.dynamic + number * PAGE);
    if (error) return error;
  }
  return 0;
}
