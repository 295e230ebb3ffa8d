// What a program and its enclave say to each other. The structure lies outside: the enclave copies what it uses, and
// believes nothing of it.
#pragma once
#include <stdint.h>

enum { CALL_TEXT = 1024 };

struct enclave_call {
  uint64_t state;     // one of enum call_state
  uint64_t function;  // which ecall; while an ocall is asked for, which ocall
  uint64_t argument[3];
  uint64_t result;
  uint8_t text[CALL_TEXT];
};

// What the enclave left behind. A call whose state did not change was refused at the door.
enum call_state { CALL_ASKED, CALL_DONE, CALL_OCALL, CALL_HANDLED, CALL_NOT_HANDLED };

// Why the program enters (RSI).
enum call_reason { ENTER_ECALL, ENTER_OCALL_RETURN, ENTER_EXCEPTION };

// Ocalls that every program answers; an example's own begin after them.
enum { OCALL_PRINT, OCALL_FIRST_OWN };
