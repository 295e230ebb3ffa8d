// Atomics under preemption: threads that share counters, a lock, and a pair that only CMPXCHG16B can change.
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "check.h"

#define GROUP "threads"
enum { workers = 4, rounds = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_long added;
static long locked;
static _Alignas(16) struct { uint64_t low, high; } pair;

static void step_pair(void) {
  uint64_t low = pair.low, high = pair.high;
  _Bool done;
  do {
    asm volatile("lock cmpxchg16b %[pair]"
                 : [pair] "+m"(pair), "=@ccz"(done), "+a"(low), "+d"(high)
                 : "b"(low + 1), "c"(high - 1)
                 : "memory");
  } while (!done);
}

static void* work(void* unused) {
  for (int i = 0; i < rounds; i++) {
    atomic_fetch_add(&added, 3);
    pthread_mutex_lock(&mutex);
    locked++;
    pthread_mutex_unlock(&mutex);
    step_pair();
  }
  return unused;
}

int main(void) {
  pthread_t threads[workers];
  for (int i = 0; i < workers; i++) pthread_create(&threads[i], NULL, work, NULL);
  for (int i = 0; i < workers; i++) pthread_join(threads[i], NULL);
  check(GROUP, "fetch-add", atomic_load(&added) == 3L * workers * rounds);
  check(GROUP, "mutex", locked == (long)workers * rounds);
  check(GROUP, "cmpxchg16b", pair.low == (uint64_t)workers * rounds && pair.high == -(uint64_t)workers * rounds);
  return failures != 0;
}
