// Runs each kernel, on this host or in a guest, and prints for bench/cpu
//
//   RESULT KERNEL VALUE                      of its first rounds, always as many
//   BEGIN KERNEL
//   END KERNEL ROUNDS NANOSECONDS            by the clock of where it runs; as often as was asked for
//
// Before and after each it sleeps, so that whoever measures this process from outside has time to look.
//   cpu-kernels [SAMPLES [MILLISECONDS [KERNEL...]]]
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels.h"

static const struct row {
  const char* name;
  kernel run;
} rows[] = {
    {"alu", run_alu},         {"crc", run_crc},     {"chase", run_chase},   {"qsort", run_qsort},
    {"calls", run_calls},     {"sse2", run_sse2},   {"fp", run_fp},         {"memcpy", run_memcpy},
    {"syscall", run_syscall}, {"fault", run_fault}, {"switch", run_switch},
};
enum { kernels = sizeof rows / sizeof rows[0], first_rounds = 64, rest_us = 10000 };

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static volatile uint64_t sink;

static uint64_t timed(const struct row* row, uint64_t rounds) {
  const uint64_t start = now();
  sink = row->run(rounds);
  return now() - start;
}

/// The least of some times: a host that is busy with something else only adds to them.
static uint64_t least_time(const struct row* row, uint64_t rounds, int times) {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < times; ++i) {
    const uint64_t took = timed(row, rounds);
    if (took < least) least = took;
  }
  return least;
}

/// So many that they take `wanted` nanoseconds or a little more.
static uint64_t rounds_for(const struct row* row, uint64_t wanted) {
  uint64_t rounds = first_rounds;
  for (;;) {
    const uint64_t took = least_time(row, rounds, 4);
    if (took >= wanted / 8) return took >= wanted ? rounds : rounds * wanted / took + 1;
    rounds *= 2;
  }
}

static void measure(const struct row* row, unsigned samples, uint64_t wanted) {
  printf("RESULT %s %016" PRIx64 "\n", row->name, row->run(first_rounds));
  const uint64_t rounds = rounds_for(row, wanted);
  for (unsigned i = 0; i < samples; ++i) {
    usleep(rest_us);
    printf("BEGIN %s\n", row->name);
    usleep(rest_us);
    const uint64_t took = timed(row, rounds);
    usleep(rest_us);
    printf("END %s %" PRIu64 " %" PRIu64 "\n", row->name, rounds, took);
  }
}

static int is_wanted(const char* name, int count, char** names) {
  for (int i = 0; i < count; ++i) {
    if (strcmp(names[i], name) == 0) return 1;
  }
  return count == 0;
}

int main(int argc, char** argv) {
  const unsigned samples = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
  const uint64_t wanted = (argc > 2 ? (uint64_t)atoi(argv[2]) : 100) * 1000000;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < kernels; ++i) {
    if (is_wanted(rows[i].name, argc > 3 ? argc - 3 : 0, argv + 3)) measure(&rows[i], samples, wanted);
  }
  return 0;
}
