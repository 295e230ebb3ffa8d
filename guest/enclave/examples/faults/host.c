#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "faults.h"
#include "loader.h"

enum { WHERE = 99, PAGE = 4096 };

static struct enclave enclave;
static struct sgx_enclave_run seen;
static int exceptions;
static uint64_t repair;  // offset of a page that is to be made accessible again

static enum after_exception watch(struct enclave* from, const struct sgx_enclave_run* run) {
  (void)from;
  seen = *run;
  exceptions++;
  if (run->exception_vector != 14 || !repair) return ASK_ENCLAVE;
  mprotect(enclave.base + repair, PAGE, PROT_READ | PROT_WRITE);
  return RESUME;
}

// One ecall that meets one exception of this vector and still gives the right answer.
static void expect(const char* name, uint64_t function, uint64_t result, unsigned vector) {
  exceptions = 0;
  const uint64_t got = enclave_ask(&enclave, function, 0, 0, 0);
  const int right = got == result && exceptions == 1 && seen.exception_vector == vector;
  check("faults", name, right);
  if (!right) printf("faults: result %#lx, %d exceptions, vector %d\n", got, exceptions, seen.exception_vector);
}

int main(void) {
  const char* error = enclave_load(&enclave, "/enclaves/faults");
  if (error) printf("faults: %s\n", error);
  check("faults", "load", !error);
  if (error) return 1;
  enclave.exception = watch;
  expect("undefined", UD2, 42, 6);
  expect("cpuid", CPUID, 0x1234, 6);
  expect("divide", DIVIDE, 6, 0);
  expect("non-canonical", NON_CANONICAL, 0x1122334455667788, 13);
  check("faults", "exinfo-of-gp",
        enclave_ask(&enclave, LAST_ADDRESS, 0, 0, 0) == 0 && enclave_ask(&enclave, LAST_ERROR, 0, 0, 0) == 0);

  // A page that the program takes away and gives back: the enclave does not notice. Nobody outside learns more of the
  // address than its page.
  repair = enclave_ask(&enclave, WHERE, 0, 0, 0);
  mprotect(enclave.base + repair, PAGE, PROT_NONE);
  expect("page-taken-away", TOUCH, repair, 14);
  check("faults", "address-is-a-page", seen.exception_addr == (uint64_t)enclave.base + repair);
  check("faults", "error-code-is-a-write", (seen.exception_error_code & 0x16) == 6);

  // What the handler does not know ends the call: a system call, which is not possible inside. The thread stays where
  // it is, in the middle of the enclave; a new call on it is an answer to nothing.
  struct enclave_call call = {.function = HOPELESS};
  struct sgx_enclave_run run;
  check("faults", "not-handled", enclave_call(&enclave, 0, &call, &run) == 1 && run.exception_vector == 6);
  enclave_unload(&enclave);
  return failures != 0;
}
