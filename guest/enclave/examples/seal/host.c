// Without an argument: seals a text and prints the blob. With one (hexadecimal): unseals it. So a blob of one boot can
// be given to the next, on the kernel's command line.
#include <string.h>

#include "blob.h"
#include "check.h"
#include "loader.h"

static const char secret[] = "sealed in an enclave";

static int ask(struct enclave* enclave, uint64_t function, uint64_t size, void* text, size_t bytes) {
  struct enclave_call call = {.function = function, .argument = {size}};
  memcpy(call.text, text, bytes);
  if (enclave_call(enclave, 0, &call, NULL) != 0 || call.result != 1) return 0;
  memcpy(text, call.text, bytes);
  return 1;
}

static int unseals(struct enclave* enclave, struct blob blob) {
  return ask(enclave, UNSEAL, 0, &blob, sizeof blob) && memcmp(&blob, secret, sizeof secret) == 0;
}

int main(int count, char** words) {
  struct enclave enclave;
  const char* error = enclave_load(&enclave, "/enclaves/seal");
  if (error) printf("seal: %s\n", error);
  check("seal", "load", !error);
  if (error) return 1;
  struct blob blob = {0};
  uint8_t* bytes = (uint8_t*)&blob;
  if (count > 1) {
    for (size_t i = 0; i < sizeof blob; i++) {
      unsigned byte = 0;
      if (sscanf(words[1] + 2 * i, "%2x", &byte) != 1) break;
      bytes[i] = (uint8_t)byte;
    }
    check("seal", "unseal-of-an-earlier-boot", unseals(&enclave, blob));
  } else {
    memcpy(bytes, secret, sizeof secret);
    check("seal", "seal", ask(&enclave, SEAL, sizeof secret, &blob, sizeof blob));
    printf("SEALED ");
    for (size_t i = 0; i < sizeof blob; i++) printf("%02x", bytes[i]);
    printf("\n");
    check("seal", "unseal", unseals(&enclave, blob));
  }
  int refused = 1;
  for (size_t i = 0; i < sizeof blob; i++) {
    // A text's unused room is not sealed.
    if (i >= offsetof(struct blob, text) + blob.size && i < offsetof(struct blob, tag)) continue;
    struct blob wrong = blob;
    ((uint8_t*)&wrong)[i] ^= (uint8_t)(1 << i % 8);
    refused &= !unseals(&enclave, wrong);
  }
  check("seal", "a-flipped-bit-is-refused", refused);
  enclave_unload(&enclave);
  return failures != 0;
}
