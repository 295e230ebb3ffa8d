// Seals a text with a key that only this enclave gets, on this machine, in any boot: EGETKEY's SEAL_KEY by MRENCLAVE,
// and AES-GCM under it.
#include "aes.h"
#include "blob.h"
#include "runtime.h"

// The versions that the blob was sealed at: EGETKEY refuses ones beyond the present.
static int seal_key(const struct blob* blob, struct sgx_key* key) {
  struct sgx_keyrequest request = {.keyname = SGX_KEY_SEAL,
                                   .keypolicy = SGX_POLICY_MRENCLAVE,
                                   .isvsvn = blob->isvsvn,
                                   .attributemask = {.flags = ~0ull, .xfrm = ~0ull},
                                   .miscmask = ~0u};
  memcpy(request.cpusvn, blob->cpusvn, sizeof request.cpusvn);
  memcpy(request.keyid, blob->keyid, sizeof request.keyid);
  return sgx_egetkey(&request, key) == 0;
}

static struct gcm_text text_of(struct blob* blob) {
  return (struct gcm_text){blob, (size_t)(blob->text - (uint8_t*)blob), blob->text, blob->size};
}

static uint64_t seal(uint8_t* text, uint64_t size) {
  struct blob blob;
  struct sgx_key key;
  if (size > SEAL_MOST) return 0;
  memset(&blob, 0, sizeof blob);
  const struct sgx_report* self = own_report();
  memcpy(blob.cpusvn, self->cpusvn, sizeof blob.cpusvn);
  blob.isvsvn = self->isvsvn;
  blob.size = (uint16_t)size;
  memcpy(blob.text, text, size);
  random_bytes(blob.keyid, sizeof blob.keyid);
  random_bytes(blob.nonce, sizeof blob.nonce);
  if (!seal_key(&blob, &key)) return 0;
  const struct gcm_text what = text_of(&blob);
  gcm_seal(key.bytes, blob.nonce, &what, blob.tag);
  memcpy(text, &blob, sizeof blob);
  return 1;
}

static uint64_t unseal(uint8_t* text) {
  struct blob blob;
  struct sgx_key key;
  memcpy(&blob, text, sizeof blob);
  if (blob.size > SEAL_MOST || !seal_key(&blob, &key)) return 0;
  const struct gcm_text what = text_of(&blob);
  if (!gcm_open(key.bytes, blob.nonce, &what, blob.tag)) return 0;
  memset(text, 0, sizeof blob);
  memcpy(text, blob.text, blob.size);
  return 1;
}

uint64_t ecall(struct enclave_call* call) {
  switch (call->function) {
    case SEAL: return seal(call->text, call->argument[0]);
    case UNSEAL: return unseal(call->text);
    default: return ~0ull;
  }
}
