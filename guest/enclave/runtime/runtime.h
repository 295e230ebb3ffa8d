// What an enclave's author finds, and what they write: ecall(), and fault() if they handle exceptions.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "sgx.h"

// cloister-enclave fills it in: offsets from the enclave's base, and bytes.
struct enclave_layout {
  uint64_t size, heap, heap_bytes, dynamic, dynamic_bytes, ssa_frame_bytes;
};
extern const struct enclave_layout enclave_layout;
extern uint8_t enclave_base[];

// The enclave's own copy of a call. `text` goes in and comes out with it.
uint64_t ecall(struct enclave_call* call);

// An exception inside the enclave: returns 1 if the registers were put right and the code may go on. It runs on a stack
// of one page and cannot make ocalls. EXINFO is valid only for #GP and #PF, and only if the enclave asked for it.
int fault(struct sgx_gprs* registers, const struct sgx_exinfo* information);

uint64_t ocall(uint64_t function, uint64_t a, uint64_t b, uint64_t c);
void print(const char* text);

// Random bytes from the processor.
void random_bytes(void* to, size_t size);

// This enclave's own identity.
const struct sgx_report* own_report(void);

int equal(const void* a, const void* b, size_t size);  // in constant time
void* memcpy(void* to, const void* from, size_t size);
void* memset(void* to, int byte, size_t size);
