// Calling: EENTER, and then whatever the enclave or the processor wants: an ocall, an exception's handler, ERESUME.
#include <stdio.h>
#include <string.h>

#include "loader.h"

enum { EENTER = 2, ERESUME = 3, EEXIT = 4 };

int enter_enclave(struct enclave_call* call, uint64_t reason, uint64_t leaf, struct sgx_enclave_run* run, void* vdso);

static uint64_t answer(struct enclave* enclave, struct enclave_call* call) {
  if (call->function == OCALL_PRINT) {
    call->text[CALL_TEXT - 1] = 0;
    fputs((const char*)call->text, stdout);
    fflush(stdout);
    return 0;
  }
  return enclave->ocall ? enclave->ocall(enclave, call) : ~0ull;
}

// An exception inside: `run` says which. Returns whether the code that met it may go on.
static int settle(struct enclave* enclave, const struct sgx_enclave_run* run) {
  const enum after_exception next = enclave->exception ? enclave->exception(enclave, run) : ASK_ENCLAVE;
  if (next != ASK_ENCLAVE) return next == RESUME;
  struct enclave_call handler = {.state = CALL_ASKED};
  struct sgx_enclave_run second = {.tcs = run->tcs};
  return enter_enclave(&handler, ENTER_EXCEPTION, EENTER, &second, enclave->vdso_enter) == 0 &&
         second.function == EEXIT && handler.state == CALL_HANDLED;
}

int enclave_call(struct enclave* enclave, unsigned thread, struct enclave_call* call, struct sgx_enclave_run* out) {
  struct sgx_enclave_run own;
  struct sgx_enclave_run* run = out ? out : &own;
  memset(run, 0, sizeof *run);
  run->tcs = enclave->tcs[thread];
  uint64_t reason = ENTER_ECALL, leaf = EENTER;
  call->state = CALL_ASKED;
  for (;;) {
    if (enter_enclave(call, reason, leaf, run, enclave->vdso_enter) != 0 || run->function != EEXIT) {
      // EENTER itself may have failed: then there is nothing to resume.
      if (run->function == EENTER || !settle(enclave, run)) return 1;
      leaf = ERESUME;
      continue;
    }
    if (call->state == CALL_DONE) return 0;
    if (call->state != CALL_OCALL) return -1;
    call->result = answer(enclave, call);
    call->state = CALL_ASKED;
    reason = ENTER_OCALL_RETURN;
    leaf = EENTER;
  }
}

uint64_t enclave_ask(struct enclave* enclave, uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
  struct enclave_call call = {.function = function, .argument = {a, b, c}};
  return enclave_call(enclave, 0, &call, NULL) == 0 ? call.result : ~0ull;
}
