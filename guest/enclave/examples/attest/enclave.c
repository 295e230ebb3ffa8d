// Local attestation: one enclave makes a REPORT for another, which checks it with a key that the processor gives to
// nobody else (SDM vol. 3D, 36.4.3).
#include "aes.h"
#include "attest.h"
#include "runtime.h"

// What others need to make reports for us.
static void target(uint8_t* text) {
  const struct sgx_report* self = own_report();
  struct sgx_targetinfo info;
  memset(&info, 0, sizeof info);
  memcpy(info.measurement, self->mrenclave, sizeof info.measurement);
  info.attributes = self->attributes;
  info.miscselect = self->miscselect;
  memcpy(text, &info, sizeof info);
}

// Text: TARGETINFO, then the challenge.
static void report(uint8_t* text) {
  struct sgx_targetinfo info;
  struct sgx_reportdata data;
  SGX_ALIGNED(512) struct sgx_report made;
  memcpy(&info, text, sizeof info);
  memcpy(data.bytes, text + sizeof info, sizeof data.bytes);
  sgx_ereport(&info, &data, &made);
  memcpy(text, &made, sizeof made);
}

static uint64_t verify(const uint8_t* text) {
  struct sgx_report made;
  struct sgx_keyrequest request = {.keyname = SGX_KEY_REPORT};
  struct sgx_key key;
  uint8_t mac[16];
  memcpy(&made, text, sizeof made);
  memcpy(request.keyid, made.keyid, sizeof request.keyid);
  if (sgx_egetkey(&request, &key) != 0) return 0;
  aes_cmac(key.bytes, &made, SGX_REPORT_MACED, mac);
  return (uint64_t)equal(mac, made.mac, sizeof mac);
}

uint64_t ecall(struct enclave_call* call) {
  switch (call->function) {
    case TARGET: target(call->text); return 1;
    case REPORT:
      for (size_t i = 128; i < TARGET_BYTES; i++) {
        if (call->text[i] != 0) return 0;  // reserved: EREPORT would fault
      }
      report(call->text);
      return 1;
    case VERIFY: return verify(call->text);
    default: return ~0ull;
  }
}
