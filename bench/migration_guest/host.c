// What bench/migration runs in a guest: so many MiB of an enclave are used all the time, and the console gets a line
// every five milliseconds.
//   hot MIB
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hot.h"
#include "loader.h"

enum { PAGE = 4096 };

static struct enclave enclave;
static uint64_t pages, done;

static void fail(const char* why) {
  printf("BENCH WRONG %s\n", why);
  fflush(stdout);
  exit(1);
}

static void* use(void* nothing) {
  for (;; done++) {
    struct enclave_call call = {.function = HOT, .argument = {pages, 1, done}};
    if (enclave_call(&enclave, 0, &call, NULL) != 0 || call.result != 0) fail("enclave");
  }
  return nothing;
}

int main(int count, char** words) {
  pages = count > 1 ? strtoull(words[1], NULL, 10) << 20 >> 12 : 0;
  if (pages == 0) fail("expected MiB");
  const char* error = enclave_load(&enclave, "/tests/hot");
  if (error) fail(error);
  const uint64_t where = enclave_ask(&enclave, WHERE, 0, 0, 0);
  if (enclave_map(&enclave, where, pages * PAGE, PROT_READ | PROT_WRITE) != 0) fail("no room for its memory");
  if (enclave_ask(&enclave, ACCEPT, pages, 0, 0) != 0) fail("no memory in it");
  pthread_t user;
  if (pthread_create(&user, NULL, use, NULL) != 0) fail("no thread");
  while (__atomic_load_n(&done, __ATOMIC_RELAXED) < 2) usleep(1000);
  printf("BENCH filled\n");
  for (;; usleep(5000)) {
    printf("BENCH tick\n");
    fflush(stdout);
  }
}
