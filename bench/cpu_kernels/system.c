// Kernels that ask something of the system: what they cost is mostly the kernel's code, and the ways into it.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels.h"

static void fail(const char* what) {
  perror(what);
  exit(1);
}

uint64_t run_syscall(uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) sum += syscall(SYS_getuid) >= 0;
  return sum;
}

uint64_t run_fault(uint64_t rounds) {
  enum { pages = 16, page = 4096 };
  static volatile uint8_t* memory;
  if (memory == NULL) {
    void* const mapped = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) fail("mmap");
    madvise(mapped, pages * page, MADV_NOHUGEPAGE);
    memory = mapped;
  }
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int n = 0; n < pages; ++n) {
      sum += memory[n * page];
      memory[n * page] = 1;
    }
    if (madvise((void*)memory, pages * page, MADV_DONTNEED) != 0) fail("madvise");
  }
  return sum;
}

static int there[2], back[2];

static void* echo(void* unused) {
  char byte;
  (void)unused;
  while (read(there[0], &byte, 1) == 1) {
    if (write(back[1], &byte, 1) != 1) fail("write");
  }
  return NULL;
}

uint64_t run_switch(uint64_t rounds) {
  static int made;
  if (!made) {
    // Both threads on the processor where this one is.
    cpu_set_t here;
    pthread_t thread;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    if (sched_setaffinity(0, sizeof here, &here) != 0) fail("sched_setaffinity");
    if (pipe(there) != 0 || pipe(back) != 0) fail("pipe");
    if (pthread_create(&thread, NULL, echo, NULL) != 0) fail("pthread_create");
    made = 1;
  }
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    char byte = (char)i;
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("pipe");
    sum = sum * 3 + (uint8_t)byte;
  }
  return sum;
}
