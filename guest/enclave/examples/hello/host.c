#include "check.h"
#include "loader.h"

enum { ADD, COUNT, BAIT, CAUGHT };
enum { OCALL_TWICE = OCALL_FIRST_OWN };

static uint64_t ocall(struct enclave* enclave, struct enclave_call* call) {
  (void)enclave;
  return call->function == OCALL_TWICE ? 2 * call->argument[0] : ~0ull;
}

static int all_ones(const uint8_t* bytes, int size) {
  for (int i = 0; i < size; i++) {
    if (bytes[i] != 0xff) return 0;
  }
  return 1;
}

int main(void) {
  struct enclave enclave;
  const char* error = enclave_load(&enclave, "/enclaves/hello");
  if (error) printf("hello: %s\n", error);
  check("hello", "load", !error);
  if (error) return 1;
  enclave.ocall = ocall;
  printf("MRENCLAVE ");
  for (int i = 0; i < 32; i++) printf("%02x", enclave.mrenclave[i]);
  printf("\n");

  check("hello", "ecall-with-ocalls", enclave_ask(&enclave, ADD, 40, 2, 0) == 42);
  check("hello", "ecall-again", enclave_ask(&enclave, ADD, 1, 2, 0) == 3);
  check("hello", "enclave-keeps-state", enclave_ask(&enclave, COUNT, 0, 0, 0) == 2);
  check("hello", "unknown-function", enclave_ask(&enclave, 99, 0, 0, 0) == ~0ull);
  check("hello", "code-reads-as-ones", all_ones(enclave.base, 4096));
  struct enclave_call probe = {.function = COUNT};

  struct enclave_call* bait = (struct enclave_call*)(enclave.base + enclave_ask(&enclave, BAIT, 0, 0, 0));
  check("hello", "call-inside-is-refused", enclave_call(&enclave, 0, bait, NULL) == -1);
  check("hello", "nothing-written-inside", enclave_ask(&enclave, CAUGHT, 0, 0, 0) == 0);

  // An address that is no TCS: EENTER itself faults, and the vDSO says so.
  const uint64_t tcs = enclave.tcs[0];
  struct sgx_enclave_run run;
  enclave.tcs[0] = (uint64_t)enclave.base;
  check("hello", "enter-what-is-no-tcs", enclave_call(&enclave, 0, &probe, &run) == 1 && run.exception_vector == 14);
  enclave.tcs[0] = tcs + 1;
  check("hello", "enter-misaligned", enclave_call(&enclave, 0, &probe, &run) == 1 && run.exception_vector == 13);
  enclave.tcs[0] = tcs;
  check("hello", "enter-after-faults", enclave_ask(&enclave, COUNT, 0, 0, 0) == 2);
  enclave_unload(&enclave);
  return failures != 0;
}
