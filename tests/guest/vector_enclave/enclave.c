// An enclave that computes in all YMM registers for millions of rounds and tells how often it was interrupted: each
// interruption leaves a header in the state save area (SDM vol. 3D, 37.3), which the enclave looks for after every
// thousand rounds and takes away again.
#include "runtime.h"

enum { REGISTERS = 16, LANES = 4, ROUNDS_OF_A_LOOK = 1000, HEADER = 512 };

static uint64_t start[REGISTERS][LANES], end[REGISTERS][LANES];

// Where the thread's first frame is: behind its two pages of data (entry.S).
static uint8_t* save_area(void) {
  uint8_t* data;
  __asm__("rdgsbase %0" : "=r"(data));
  return data + 2 * 4096;
}

#define ALL_REGISTERS "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"

// YMM0 takes up YMM1 in each round, YMM2 is turned by YMM3's lanes, the others stay. The interruptions that were seen.
static uint64_t run(uint64_t looks) {
  uint64_t interruptions = 0, rounds;
  __asm__ volatile(
      ".irp n, " ALL_REGISTERS
      "\n vmovdqu 32 * \\n(%[start]), %%ymm\\n\n .endr\n"
      "1: mov %[each], %[rounds]\n"
      "2: vpaddq %%ymm1, %%ymm0, %%ymm0\n"
      "vpermq $0x39, %%ymm2, %%ymm2\n"
      "vpxor %%ymm3, %%ymm2, %%ymm2\n"
      "dec %[rounds]\n jnz 2b\n"
      "cmpq $0, (%[header])\n je 3f\n"
      "inc %[interruptions]\n movq $0, (%[header])\n"
      "3: dec %[looks]\n jnz 1b\n"
      ".irp n, " ALL_REGISTERS
      "\n vmovdqu %%ymm\\n, 32 * \\n(%[end])\n .endr\n"
      "vzeroall"
      : [interruptions] "+r"(interruptions), [looks] "+r"(looks), [rounds] "=&r"(rounds)
      : [start] "r"(start), [end] "r"(end), [header] "r"(save_area() + HEADER), [each] "i"(ROUNDS_OF_A_LOOK)
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return interruptions;
}

// How many words are not what they have to be.
static uint64_t wrong(uint64_t looks) {
  const uint64_t rounds = looks * ROUNDS_OF_A_LOOK;
  uint64_t expected[REGISTERS][LANES], count = 0;
  memcpy(expected, start, sizeof expected);
  for (unsigned i = 0; i < LANES; i++) expected[0][i] += rounds * start[1][i];
  for (uint64_t round = 0; round < rounds; round++) {
    const uint64_t first = expected[2][0];
    for (unsigned i = 0; i + 1 < LANES; i++) expected[2][i] = expected[2][i + 1] ^ start[3][i];
    expected[2][LANES - 1] = first ^ start[3][LANES - 1];
  }
  for (unsigned n = 0; n < REGISTERS; n++) {
    for (unsigned i = 0; i < LANES; i++) count += end[n][i] != expected[n][i];
  }
  return count;
}

// Argument: so many thousand rounds. The interruptions; the wrong words are in the upper half.
uint64_t ecall(struct enclave_call* call) {
  random_bytes(start, sizeof start);
  const uint64_t interruptions = run(call->argument[0]);
  return wrong(call->argument[0]) << 32 | (uint32_t)interruptions;
}
