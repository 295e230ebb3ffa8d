// Four threads work over an enclave's memory, each on pages of its own, until the time is over (an argument, in
// seconds; 4 otherwise).
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "loader.h"

enum { PAGES, ROUND };
enum { THREADS = 4, LEAST_ROUNDS = 2 };

static struct enclave enclave;
static time_t end;

static void* run(void* number) {
  const unsigned thread = (unsigned)(uintptr_t)number;
  for (uint64_t rounds = 0; rounds < LEAST_ROUNDS || time(NULL) < end; rounds++) {
    struct enclave_call call = {.function = ROUND, .argument = {thread, THREADS, rounds}};
    if (enclave_call(&enclave, thread, &call, NULL) != 0 || call.result != 0) {
      printf("paging: thread %u, round %lu: %lu words wrong\n", thread, rounds, call.result);
      return NULL;
    }
  }
  return (uint8_t*)number + 1;
}

int main(int count, char** words) {
  const char* error = enclave_load(&enclave, "/enclaves/paging");
  if (error) printf("paging: %s\n", error);
  check("paging", "load", !error);
  if (error) return 1;
  end = time(NULL) + (count > 1 ? atoi(words[1]) : 4);
  printf("paging: %lu KiB of enclave memory\n", enclave_ask(&enclave, PAGES, 0, 0, 0) * 4);
  pthread_t threads[THREADS];
  for (unsigned i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, (void*)(uintptr_t)i);
  int right = 1;
  for (unsigned i = 0; i < THREADS; i++) {
    void* result;
    pthread_join(threads[i], &result);
    right &= result != NULL;
  }
  check("paging", "every-word", right);
  enclave_unload(&enclave);
  return failures != 0;
}
