// Runs in a guest: builds the enclave through Linux's driver, enters it through the vDSO, and lets the kernel page it.
// Prints `SPEED` before each thing that is timed and `SPEED WHAT COUNT NANOSECONDS`, by the guest's clock, after it;
// bench/sgx reads that.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "image.h"
#include "loader.h"

enum { BUILDS = 5, ROUND_TRIPS = 50000, ROUNDS_OF_WORK = 2000000, PASSES = 2, SIGSTRUCT_BYTES = 1808, EENTER = 2 };

void work_here(uint64_t rounds, uint64_t* word, uint64_t stride);  // work.S

typedef int (*vdso_enter)(uint64_t rdi, uint64_t rsi, uint64_t rdx, unsigned leaf, uint64_t r8, uint64_t r9,
                          struct sgx_enclave_run* run);

static vdso_enter enter;
static uint8_t* pages;
static uint8_t sigstruct[IMAGE_PAGE] __attribute__((aligned(IMAGE_PAGE)));

struct built {
  int device;
  uint8_t* base;
};

static void fail(const char* what) {
  printf("FAIL sgx-speed: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t started;

static void start(void) {
  puts("SPEED");
  fflush(stdout);
  started = now();
}

static void stop(const char* what, uint64_t count) {
  const uint64_t nanoseconds = now() - started;
  printf("SPEED %s %lu %lu\n", what, count, nanoseconds);
  fflush(stdout);
}

static void prepare(void) {
  enter = (vdso_enter)vdso_function("__vdso_sgx_enter_enclave");
  if (!enter) fail("the vDSO's function");
  const int file = open("/enclaves/speed.sig", O_RDONLY);
  if (read(file, sigstruct, SIGSTRUCT_BYTES) != SIGSTRUCT_BYTES) fail("speed.sig");
  close(file);
  pages = mmap(NULL, IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) fail("memory");
  for (unsigned i = 0; i < IMAGE_PAGES; i++) image_page(i, pages + (uint64_t)i * IMAGE_PAGE);
}

// Neighbours of one kind, in one call of the driver if it is not interrupted.
static void add(int device, unsigned from, unsigned to) {
  static uint8_t secinfo[64] __attribute__((aligned(64)));
  const uint64_t flags = image_flags(from);
  memcpy(secinfo, &flags, sizeof flags);
  uint64_t at = (uint64_t)from * IMAGE_PAGE;
  const uint64_t end = (uint64_t)to * IMAGE_PAGE;
  while (at < end) {
    struct sgx_enclave_add_pages argument = {.src = (uintptr_t)(pages + at),
                                             .offset = at,
                                             .length = end - at,
                                             .secinfo = (uintptr_t)secinfo,
                                             .flags = SGX_PAGE_MEASURE};
    if (ioctl(device, SGX_IOC_ENCLAVE_ADD_PAGES, &argument) != 0 && errno != EINTR) fail("add pages");
    at += argument.count;
  }
}

static uint8_t* reserve(void) {
  uint8_t* area = mmap(NULL, 2 * IMAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) fail("addresses");
  uint8_t* base = (uint8_t*)(((uintptr_t)area + IMAGE_BYTES - 1) & ~(IMAGE_BYTES - 1));
  if (base > area) munmap(area, (size_t)(base - area));
  munmap(base + IMAGE_BYTES, (size_t)(area + IMAGE_BYTES - base));
  return base;
}

static struct built build(void) {
  static uint8_t secs[IMAGE_PAGE] __attribute__((aligned(IMAGE_PAGE)));
  struct built enclave = {.device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC), .base = reserve()};
  if (enclave.device < 0) fail("/dev/sgx_enclave");
  const uint64_t size = IMAGE_BYTES;
  const uint32_t ssa_frame_size = 1;
  memcpy(secs + 0, &size, sizeof size);
  memcpy(secs + 8, &enclave.base, sizeof enclave.base);
  memcpy(secs + 16, &ssa_frame_size, sizeof ssa_frame_size);
  memcpy(secs + 48, sigstruct + 928, 16);  // ATTRIBUTES
  struct sgx_enclave_create create = {.src = (uintptr_t)secs};
  if (ioctl(enclave.device, SGX_IOC_ENCLAVE_CREATE, &create) != 0) fail("create");
  for (unsigned from = 0, to; from < IMAGE_PAGES; from = to) {
    for (to = from + 1; to < IMAGE_PAGES && image_flags(to) == image_flags(from);) to++;
    add(enclave.device, from, to);
  }
  struct sgx_enclave_init init = {.sigstruct = (uintptr_t)sigstruct};
  if (ioctl(enclave.device, SGX_IOC_ENCLAVE_INIT, &init) != 0) fail("init");
  return enclave;
}

static void map(struct built enclave, unsigned from, unsigned to, int protection) {
  uint8_t* at = enclave.base + (uint64_t)from * IMAGE_PAGE;
  const size_t bytes = (size_t)(to - from) * IMAGE_PAGE;
  if (mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, enclave.device, 0) != at) fail("map");
}

static void map_all(struct built enclave) {
  map(enclave, IMAGE_TCS, IMAGE_CODE, PROT_READ | PROT_WRITE);
  map(enclave, IMAGE_CODE, IMAGE_DATA, PROT_READ | PROT_EXEC);
  map(enclave, IMAGE_DATA, IMAGE_PAGES, PROT_READ | PROT_WRITE);
}

static void destroy(struct built enclave) {
  munmap(enclave.base, IMAGE_BYTES);
  close(enclave.device);
}

// `rounds` of work inside, on a word that moves on by `stride` bytes.
static void work(struct built enclave, uint64_t rounds, uint64_t stride) {
  struct sgx_enclave_run run = {.tcs = (uintptr_t)(enclave.base + IMAGE_TCS * IMAGE_PAGE)};
  const uint64_t word = (uintptr_t)(enclave.base + IMAGE_DATA * IMAGE_PAGE);
  if (enter(rounds, word, stride, EENTER, 0, 0, &run) != 0 || run.function != 4) {
    printf("FAIL sgx-speed: vector %u at %#llx\n", run.exception_vector, (unsigned long long)run.exception_addr);
    exit(1);
  }
}

static uint64_t faults(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
}

int main(void) {
  prepare();
  for (int i = 0; i < BUILDS; i++) {
    start();
    const struct built enclave = build();
    stop("build", IMAGE_BYTES);
    destroy(enclave);
  }

  const struct built first = build();
  map_all(first);
  work(first, 1, 0);
  start();
  for (int i = 0; i < ROUND_TRIPS; i++) work(first, 0, 0);
  stop("enter", ROUND_TRIPS);
  start();
  work(first, ROUNDS_OF_WORK, 0);
  stop("inside", ROUNDS_OF_WORK);
  uint64_t word = 0;
  start();
  work_here(ROUNDS_OF_WORK, &word, 0);
  stop("outside", ROUNDS_OF_WORK);

  // Two of them are more than the domain's EPC: most pages that are touched have been written out meanwhile.
  const struct built second = build();
  map_all(second);
  for (int i = 0; i < PASSES; i++) {
    const uint64_t before = faults();
    start();
    work(first, IMAGE_PAGES - IMAGE_DATA, IMAGE_PAGE);
    work(second, IMAGE_PAGES - IMAGE_DATA, IMAGE_PAGE);
    stop("load", faults() - before);
  }
  return 0;
}
