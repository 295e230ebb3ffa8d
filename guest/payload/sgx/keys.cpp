#include "keys.hpp"

extern "C" void aes_cmac(const u8 key[16], const void* message, u64 size, u8 mac[16]);

/// What AES's GCM, which is not used here, compares tags with.
extern "C" int equal(const u8* a, const u8* b, u64 size) {
  u8 difference = 0;
  for (u64 i = 0; i < size; i++) difference |= a[i] ^ b[i];
  return difference == 0;
}

namespace sgx {

namespace {

constexpr unsigned launcher = 1;

void map_enclave(unsigned enclave) {
  for (unsigned page = 0; page < added_pages; page++) map_enclave_page(page, place_of(enclave, page));
}

/// EGETKEY in an enclave that has the request in its data page, and gets the key in its output page.
u64 key_of(unsigned enclave, arch::Bytes16& key) {
  const Call before = call;
  map_enclave(enclave);
  call_inside(arch::EncluLeaf::egetkey, in_enclave(data_page), in_enclave(output_page));
  execute();
  const u64 code = ending.trap.vector == vec::done ? ending.rax : invalid;
  map_enclave(0);
  call = before;
  for (u64 i = 0; i < 2; i++) {
    const u64 word = peek(place_of(enclave, output_page), i * 8);
    memcpy(reinterpret_cast<u8*>(&key) + i * 8, &word, 8);
  }
  return code;
}

}  // namespace

void seal_token(arch::Einittoken& token) {
  namespace a = arch::attributes;
  static Plan target;
  target = the_plan;
  the_plan.reset();
  the_plan.secs.attributes.flags |= a::einittokenkey;
  arch::Keyrequest request{};
  request.keyname = static_cast<u16>(arch::KeyName::einittoken);
  request.isvsvn = signature(plain).isvsvn;
  request.attributemask = {~0ul, ~0ul};
  request.keyid[3] = 0x77;
  memcpy(the_plan.data, &request, sizeof request);

  token.isvprodidle = signature(plain).isvprodid;
  token.isvsvnle = request.isvsvn;
  token.maskedattributesle = the_plan.secs.attributes;
  token.maskedattributesle.flags |= a::init;
  token.keyid = request.keyid;
  for (unsigned page = 0; page < added_pages; page++) eremove(place_of(launcher, page));
  eremove(secs_of(launcher));
  launch(launcher);
  arch::Bytes16 key;
  key_of(launcher, key);
  aes_cmac(reinterpret_cast<const u8*>(&key), &token, arch::einittoken_maced_bytes, reinterpret_cast<u8*>(&token.mac));
  the_plan = target;
}

}  // namespace sgx
