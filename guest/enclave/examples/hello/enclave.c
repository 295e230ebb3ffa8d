// The smallest enclave that does something: adds two numbers, and says hello by an ocall on the way.
#include "runtime.h"

enum { ADD, COUNT, BAIT, CAUGHT };
enum { OCALL_TWICE = OCALL_FIRST_OWN };

static uint64_t count;  // the enclave's own memory, which outlives the call

// What must not happen: that a program passes an address in here for its call, and the answer is written over it.
static struct enclave_call bait = {.function = COUNT, .result = 77};

uint64_t ecall(struct enclave_call* call) {
  const uint64_t a = call->argument[0], b = call->argument[1];
  switch (call->function) {
    case ADD:
      count++;
      print("hello from inside the enclave\n");
      return ocall(OCALL_TWICE, a + b, 0, 0) / 2;
    case COUNT: return count;
    case BAIT: return (uint64_t)((uint8_t*)&bait - enclave_base);
    case CAUGHT: return bait.result != 77;
    default: return ~0ull;
  }
}
