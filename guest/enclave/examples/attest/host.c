// Two enclaves of one program, told apart by their heap and so by MRENCLAVE, verify each other's reports. The program
// between them carries the messages, and tries to change them. `attest quote` asks for a quote: status 3 and a line
// that says what is missing.
#include <string.h>

#include "attest.h"
#include "check.h"
#include "loader.h"

static int ask(struct enclave* enclave, uint64_t function, uint8_t* text) {
  struct enclave_call call = {.function = function};
  memcpy(call.text, text, CALL_TEXT);
  if (enclave_call(enclave, 0, &call, NULL) != 0) return 0;
  memcpy(text, call.text, CALL_TEXT);
  return call.result == 1;
}

// `prover` shows `verifier` who it is. The report is left in `report`.
static int attest(struct enclave* prover, struct enclave* verifier, const char* challenge, uint8_t* report) {
  memset(report, 0, CALL_TEXT);
  if (!ask(verifier, TARGET, report)) return 0;
  memset(report + TARGET_BYTES, 0, CALL_TEXT - TARGET_BYTES);
  strcpy((char*)report + TARGET_BYTES, challenge);
  if (!ask(prover, REPORT, report)) return 0;
  return ask(verifier, VERIFY, report) && memcmp(report + 64, prover->mrenclave, 32) == 0 &&
         strcmp((const char*)report + 320, challenge) == 0;
}

// The report that `one` makes can be had; whether somebody can make a quote of it, the machine decides.
static int quote(struct enclave* one, struct enclave* two) {
  uint8_t report[CALL_TEXT];
  check("attest", "report-for-a-quote", attest(two, one, "to be quoted", report));
  const char* missing = quote_unavailable();
  if (!missing) {
    puts("attest: this machine has what a quote needs; ask its quoting service");
    return failures != 0;
  }
  printf("attest: no quote can be had here: %s. Reports are verified on this machine only.\n", missing);
  return 3;
}

// An enclave that wants the provisioning key, by which Intel certifies quoting enclaves: may it have it here?
static int provisioned(void) {
  struct enclave enclave;
  const char* error = enclave_load(&enclave, "/enclaves/attest-provisioned");
  if (error) {
    printf("attest: %s\n", error);
    return 1;
  }
  enclave_unload(&enclave);
  return 0;
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "provisioned") == 0) return provisioned();
  struct enclave one, two;
  const char* error = enclave_load(&one, "/enclaves/attest");
  if (!error) error = enclave_load(&two, "/enclaves/attest-other");
  if (error) printf("attest: %s\n", error);
  check("attest", "load", !error);
  if (error) return 1;
  if (argc > 1 && strcmp(argv[1], "quote") == 0) return quote(&one, &two);
  uint8_t report[CALL_TEXT], changed[CALL_TEXT];
  check("attest", "two-identities", memcmp(one.mrenclave, two.mrenclave, 32) != 0);
  check("attest", "second-proves-to-first", attest(&two, &one, "from the second", report));
  check("attest", "first-proves-to-second", attest(&one, &two, "from the first", report));
  memcpy(changed, report, sizeof changed);
  check("attest", "not-for-others", !ask(&one, VERIFY, changed));
  int refused = 1;
  for (int i = 0; i < REPORT_BYTES; i++) {
    memcpy(changed, report, sizeof changed);
    changed[i] ^= (uint8_t)(1 << i % 8);
    refused &= !ask(&two, VERIFY, changed);
  }
  check("attest", "a-flipped-bit-is-refused", refused);
  enclave_unload(&one);
  enclave_unload(&two);
  return failures != 0;
}
