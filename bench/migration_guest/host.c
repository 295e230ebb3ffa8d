// What bench/migration runs in a guest: so many MiB of an enclave, or of ordinary memory, are used all the time, and
// the console gets a line every five milliseconds.
//   hot MIB [plain]
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

// As the enclave uses its own.
static void* use_plain(void* memory) {
  for (;; done++) {
    for (uint64_t number = 0; number < pages; number++) {
      volatile uint64_t* at = (uint64_t*)((char*)memory + number * PAGE) + number % (PAGE / 8);
      if (*at != done) fail("memory");
      *at = done + 1;
    }
  }
  return NULL;
}

static void begin_plain(void) {
  pthread_t user;
  void* memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("no memory");
  for (uint64_t number = 0; number < pages; number++) {  // as random as an evicted page, with a number in it
    uint64_t* page = (uint64_t*)((char*)memory + number * PAGE);
    for (unsigned i = 0; i < PAGE / 8; i++) page[i] = (number * 512 + i + 1) * 0x9e3779b97f4a7c15u;
    page[number % (PAGE / 8)] = 0;
  }
  if (pthread_create(&user, NULL, use_plain, memory) != 0) fail("no thread");
}

static void begin_enclave(void) {
  const char* error = enclave_load(&enclave, "/tests/hot");
  if (error) fail(error);
  const uint64_t where = enclave_ask(&enclave, WHERE, 0, 0, 0);
  if (enclave_map(&enclave, where, pages * PAGE, PROT_READ | PROT_WRITE) != 0) fail("no room for its memory");
  if (enclave_ask(&enclave, ACCEPT, pages, 0, 0) != 0) fail("no memory in it");
  pthread_t user;
  if (pthread_create(&user, NULL, use, NULL) != 0) fail("no thread");
}

int main(int count, char** words) {
  pages = count > 1 ? strtoull(words[1], NULL, 10) << 20 >> 12 : 0;
  if (pages == 0) fail("expected MiB");
  count > 2 && strcmp(words[2], "plain") == 0 ? begin_plain() : begin_enclave();
  while (__atomic_load_n(&done, __ATOMIC_RELAXED) < 2) usleep(1000);
  printf("BENCH filled\n");
  for (;; usleep(5000)) {
    printf("BENCH tick\n");
    fflush(stdout);
  }
}
