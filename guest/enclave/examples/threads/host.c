// Four threads in one enclave, until the time is over (an argument, in seconds) or once.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

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

// How often the four ran, or 0 if an answer was wrong.
static uint64_t run_until(time_t end) {
  for (uint64_t times = 1;; times++) {
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, (void*)(uintptr_t)i);
    int right = 1;
    for (unsigned i = 0; i < THREADS; i++) {
      void* result;
      pthread_join(threads[i], &result);
      right &= result != NULL;
    }
    if (!right) return 0;
    if (time(NULL) >= end) return times;
  }
}

int main(int count, char** words) {
  const char* error = enclave_load(&enclave, "/enclaves/threads");
  if (error) printf("threads: %s\n", error);
  check("threads", "load", !error);
  if (error) return 1;
  enclave.ocall = ocall;
  check("threads", "has-several", enclave.threads == THREADS);
  const uint64_t times = run_until(time(NULL) + (count > 1 ? atoi(words[1]) : 0));
  check("threads", "each-sum", times != 0);
  check("threads", "atomic-total", enclave_ask(&enclave, TOTAL, 0, 0, 0) == times * THREADS * ROUNDS);
  check("threads", "locked-total", enclave_ask(&enclave, LOCKED_TOTAL, 0, 0, 0) == times * THREADS * ROUNDS);
  enclave_unload(&enclave);
  return failures != 0;
}
