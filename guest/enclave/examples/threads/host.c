#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "loader.h"

enum { WORK, TOTAL, LOCKED_TOTAL };
enum { THREADS = 4, ROUNDS = 20000 };

static struct enclave enclave;

static uint64_t ocall(struct enclave* from, struct enclave_call* call) {
  (void)from, (void)call;
  return (uint64_t)sched_yield();
}

static uint64_t right_sum(uint64_t seed) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < ROUNDS; i++) sum += seed * 1000 + i % 64;
  return sum;
}

static void* run(void* number) {
  const unsigned thread = (unsigned)(uintptr_t)number;
  struct enclave_call call = {.function = WORK, .argument = {thread, ROUNDS}};
  const int entered = enclave_call(&enclave, thread, &call, NULL) == 0;
  return (void*)(uintptr_t)(entered && call.result == right_sum(thread));
}

int main(void) {
  const char* error = enclave_load(&enclave, "/enclaves/threads");
  if (error) printf("threads: %s\n", error);
  check("threads", "load", !error);
  if (error) return 1;
  enclave.ocall = ocall;
  check("threads", "has-several", enclave.threads == THREADS);
  pthread_t threads[THREADS];
  for (unsigned i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, (void*)(uintptr_t)i);
  int right = 1;
  for (unsigned i = 0; i < THREADS; i++) {
    void* result;
    pthread_join(threads[i], &result);
    right &= result != NULL;
  }
  check("threads", "each-sum", right);
  check("threads", "atomic-total", enclave_ask(&enclave, TOTAL, 0, 0, 0) == THREADS * ROUNDS);
  check("threads", "locked-total", enclave_ask(&enclave, LOCKED_TOTAL, 0, 0, 0) == THREADS * ROUNDS);
  enclave_unload(&enclave);
  return failures != 0;
}
