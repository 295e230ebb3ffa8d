// The kernels of bench/cpu: each is one kind of work, in rounds that do the same again and again. What it returns
// follows from the rounds alone, so whoever runs it must return the same.
#ifndef CLOISTER_BENCH_KERNELS_H
#define CLOISTER_BENCH_KERNELS_H

#include <stdint.h>

typedef uint64_t (*kernel)(uint64_t rounds);

// work.c: in user mode alone
uint64_t run_alu(uint64_t rounds);     // 64-bit integer arithmetic in registers
uint64_t run_crc(uint64_t rounds);     // CRC-32 by a table, 256 bytes
uint64_t run_chase(uint64_t rounds);   // loads of which each needs the one before, 64 of them in 256 KiB
uint64_t run_qsort(uint64_t rounds);   // qsort of 256 integers, through a pointer to the comparison
uint64_t run_calls(uint64_t rounds);   // a recursion of 465 calls
uint64_t run_sse2(uint64_t rounds);    // packed integers, 1 KiB
uint64_t run_fp(uint64_t rounds);      // a product of matrices of 16 x 16, and a Fourier transform of 64 points
uint64_t run_memcpy(uint64_t rounds);  // 16 KiB by SSE2's loads and stores

// system.c: mostly in the kernel
uint64_t run_syscall(uint64_t rounds);  // one that does nothing
uint64_t run_fault(uint64_t rounds);    // 16 pages of fresh memory
uint64_t run_switch(uint64_t rounds);   // a byte to another thread of this processor's, and back

#endif
