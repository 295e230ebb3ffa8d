// The smallest enclave that does something: adds two numbers, and says hello by an ocall on the way.
#include "runtime.h"

enum { ADD, COUNT };
enum { OCALL_TWICE = OCALL_FIRST_OWN };

static uint64_t count;  // the enclave's own memory, which outlives the call

uint64_t ecall(struct enclave_call* call) {
  const uint64_t a = call->argument[0], b = call->argument[1];
  switch (call->function) {
    case ADD:
      count++;
      print("hello from inside the enclave\n");
      return ocall(OCALL_TWICE, a + b, 0, 0) / 2;
    case COUNT: return count;
    default: return ~0ull;
  }
}
