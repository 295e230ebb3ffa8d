// Loads an enclave through Linux's driver and calls it through the vDSO.
#pragma once
#include <asm/sgx.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"

enum { ENCLAVE_MAX_THREADS = 64 };

struct enclave {
  int device;
  uint8_t* base;
  uint64_t size;
  unsigned threads;
  uint64_t tcs[ENCLAVE_MAX_THREADS];
  uint8_t mrenclave[32];
  void* vdso_enter;

  // Answers ocalls from OCALL_FIRST_OWN on; may be NULL.
  uint64_t (*ocall)(struct enclave*, struct enclave_call*);
  // Sees every exception first; may be NULL. What it returns says what happens next.
  enum after_exception { ASK_ENCLAVE, RESUME, GIVE_UP } (*exception)(struct enclave*, const struct sgx_enclave_run*);
};

// From NAME.sgxs and NAME.sig. NULL, or what went wrong.
const char* enclave_load(struct enclave* enclave, const char* name);
void enclave_unload(struct enclave* enclave);

// One ecall on one of the enclave's threads, with whatever ocalls it makes. 0; -1 if the enclave refused it; otherwise
// `run` (which may be NULL) has the exception that nobody handled.
int enclave_call(struct enclave* enclave, unsigned thread, struct enclave_call* call, struct sgx_enclave_run* run);

// The same with a function and up to three numbers; the result, or all ones.
uint64_t enclave_ask(struct enclave* enclave, uint64_t function, uint64_t a, uint64_t b, uint64_t c);

// Makes addresses of the enclave accessible, within what each page allows.
int enclave_map(struct enclave* enclave, uint64_t offset, uint64_t bytes, int protection);

// The ioctls on pages of a running enclave: 0, or the SGX error code, or -1 with errno.
int enclave_restrict(struct enclave* enclave, uint64_t offset, uint64_t bytes, uint64_t permissions);
int enclave_set_type(struct enclave* enclave, uint64_t offset, uint64_t bytes, uint64_t type);
int enclave_remove(struct enclave* enclave, uint64_t offset, uint64_t bytes);

// What a quote that Intel's roots verify would need and this machine does not have, as one line; NULL if nothing is
// missing.
const char* quote_unavailable(void);

void* vdso_function(const char* name);
