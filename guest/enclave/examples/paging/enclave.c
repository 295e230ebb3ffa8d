// An enclave that is larger than the EPC of the domain it is meant for: the kernel writes its pages out and loads them
// back, and each must come back as it was.
#include "runtime.h"

enum { PAGE = 4096, WORDS = PAGE / 8 };
enum { PAGES, ROUND };

static uint64_t* page(uint64_t number) { return (uint64_t*)(enclave_base + enclave_layout.heap + number * PAGE); }

// What a word holds after so many rounds: no two are alike.
static uint64_t word(uint64_t number, uint64_t index, uint64_t rounds) {
  const uint64_t mixed = (number << 32 | index << 16 | rounds) * 0x9e3779b97f4a7c15;
  return mixed ^ mixed >> 29;
}

// A thread's own pages (every `stride`-th), a few words of each: checks what the round before left there and writes
// something new. The order jumps, so that a page is seldom there. Returns how many words were wrong.
static uint64_t round(uint64_t first, uint64_t stride, uint64_t rounds) {
  const uint64_t pages = enclave_layout.heap_bytes / PAGE, mine = (pages - first + stride - 1) / stride;
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < mine; i++) {
    const uint64_t number = first + i * 89 % mine * stride;
    for (uint64_t index = number % 61; index < WORDS; index += 61) {
      uint64_t* at = page(number) + index;
      wrong += *at != (rounds ? word(number, index, rounds) : 0);
      *at = word(number, index, rounds + 1);
    }
  }
  return wrong;
}

uint64_t ecall(struct enclave_call* call) {
  switch (call->function) {
    case PAGES: return enclave_layout.heap_bytes / PAGE;
    case ROUND:
      if (call->argument[0] >= call->argument[1] || call->argument[1] > 89) return ~0ull;
      return round(call->argument[0], call->argument[1], call->argument[2]);
    default: return ~0ull;
  }
}
