// AES-128 by the processor's own instructions, and the two modes that the examples use.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <wmmintrin.h>

struct aes {
  __m128i round[11];
};

void aes_start(struct aes* aes, const uint8_t key[16]);
__m128i aes_block(const struct aes* aes, __m128i block);

// AES-CMAC (NIST SP 800-38B; RFC 4493).
void aes_cmac(const uint8_t key[16], const void* message, size_t size, uint8_t mac[16]);

// AES-GCM (NIST SP 800-38D) with a nonce of 12 bytes; in place. gcm_open returns 0, and clears the text, if the tag is
// not that of text and associated data.
struct gcm_text {
  const void* associated;
  size_t associated_size;
  uint8_t* text;
  size_t size;
};
void gcm_seal(const uint8_t key[16], const uint8_t nonce[12], const struct gcm_text* what, uint8_t tag[16]);
int gcm_open(const uint8_t key[16], const uint8_t nonce[12], const struct gcm_text* what, const uint8_t tag[16]);
