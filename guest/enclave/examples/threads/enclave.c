// Several threads of the program inside one enclave, each on a TCS of its own: shared memory with atomic operations and
// a lock, private stacks, and an ocall in between.
#include "runtime.h"

enum { WORK, TOTAL, LOCKED_TOTAL };
enum { OCALL_YIELD = OCALL_FIRST_OWN };

static uint64_t total, locked_total;
static uint8_t lock;

// A lock that leaves the enclave to wait, so that one virtual processor is enough for all threads.
static void take(void) {
  while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) ocall(OCALL_YIELD, 0, 0, 0);
}

// Returns a sum over the thread's own numbers, which the stack carries across interruptions and ocalls.
static uint64_t work(uint64_t seed, uint64_t rounds) {
  uint64_t numbers[64], sum = 0;
  for (uint64_t i = 0; i < 64; i++) numbers[i] = seed * 1000 + i;
  for (uint64_t i = 0; i < rounds; i++) {
    __atomic_fetch_add(&total, 1, __ATOMIC_RELAXED);
    take();
    locked_total++;
    __atomic_clear(&lock, __ATOMIC_RELEASE);
    if (i % 64 == 0) ocall(OCALL_YIELD, 0, 0, 0);
    sum += numbers[i % 64];
  }
  return sum;
}

uint64_t ecall(struct enclave_call* call) {
  switch (call->function) {
    case WORK: return work(call->argument[0], call->argument[1]);
    case TOTAL: return total;
    case LOCKED_TOTAL: return locked_total;
    default: return ~0ull;
  }
}
