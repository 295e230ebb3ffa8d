// A sealed text, as it leaves the enclave. Everything before the text is under the tag as well.
#pragma once
#include <stdint.h>

enum { SEAL_MOST = 64 };

struct blob {
  uint8_t cpusvn[16];
  uint8_t keyid[32];
  uint8_t nonce[12];
  uint16_t isvsvn, size;
  uint8_t text[SEAL_MOST];
  uint8_t tag[16];
};
enum { SEAL, UNSEAL };
