// Runs the enclave beside a process that has other values in the same registers, so that each turn of either finds the
// other's there, for some million rounds and until timers have taken the processor from it often enough.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "loader.h"

enum { THOUSANDS = 4000, OFTEN = 10, MOST_CALLS = 200 };

static struct enclave enclave;

// Ends by itself, and with status 1, only if one of its registers has changed.
static void hold_registers(void) {
  static const uint64_t mine[4] = {~0ull, 0x1111, 0x2222, 0x3333};
  uint64_t found[4], wrong;
  do {
    __asm__ volatile(
        "vmovdqu (%[mine]), %%ymm0\n vmovdqa %%ymm0, %%ymm2\n vmovdqa %%ymm0, %%ymm15\n"
        "mov $1000000, %[wrong]\n 1: dec %[wrong]\n jnz 1b\n"
        "vpxor %%ymm0, %%ymm2, %%ymm2\n vpxor %%ymm0, %%ymm15, %%ymm15\n vpor %%ymm2, %%ymm15, %%ymm15\n"
        "vpxor (%[mine]), %%ymm0, %%ymm0\n vpor %%ymm0, %%ymm15, %%ymm15\n vmovdqu %%ymm15, (%[found])\n vzeroupper"
        : [wrong] "=&r"(wrong)
        : [mine] "r"(mine), [found] "r"(found)
        : "memory", "cc", "xmm0", "xmm2", "xmm15");
  } while ((found[0] | found[1] | found[2] | found[3]) == 0);
  _exit(1);
}

// How often this process was made to wait in the middle of something: there is nearly nothing that it does but the
// enclave.
static long taken_away(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_nivcsw;
}

int main(void) {
  const char* error = enclave_load(&enclave, "/tests/vector-enclave");
  if (error) printf("vector-enclave: %s\n", error);
  check("vector-enclave", "load", !error);
  if (error) return 1;
  const pid_t other = fork();
  if (other == 0) hold_registers();
  uint64_t interruptions = 0, wrong = 0;
  unsigned calls = 0;
  while (calls < 2 || (taken_away() < OFTEN && calls < MOST_CALLS)) {
    const uint64_t result = enclave_ask(&enclave, 0, THOUSANDS, 0, 0);
    interruptions += (uint32_t)result;
    wrong += result >> 32;
    calls++;
  }
  printf("INTERRUPTIONS %llu, %ld of them by timers, in %u calls\n", (unsigned long long)interruptions, taken_away(),
         calls);
  check("vector-enclave", "interrupted", interruptions >= OFTEN && taken_away() >= OFTEN);
  check("vector-enclave", "registers-kept", wrong == 0);
  check("vector-enclave", "other-process-runs", waitpid(other, NULL, WNOHANG) == 0);
  kill(other, SIGKILL);
  waitpid(other, NULL, 0);
  enclave_unload(&enclave);
  return failures != 0;
}
