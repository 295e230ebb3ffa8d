// What a guest finds of launch control (SDM vol. 3D, 37.1.4 and 37.7.1): the registers, and whom EINIT launches, from
// ECREATE to EINIT with two signers. Says what it found, for the test to judge, since that depends on the machine:
//
//   FOUND feature_control=…
//   FOUND hash=absent|intel|first|second|unknown
//   FOUND first=…                 EINIT's code for an enclave of the first signer; of the second
//   FOUND second=…
//   FOUND write=done|refused      WRMSR of the second signer's hash, then the same again
//   …
#include "payload.hpp"
#include "sgx/machine.hpp"

namespace {

constexpr u32 hash_msr = 0x8c;

void found(const char* what) {
  print("FOUND ");
  print(what);
  print("=");
}
void found(const char* what, const char* value) {
  found(what);
  print(value);
  print("\n");
}
void found(const char* what, u64 value) {
  found(what);
  print_hex(value);
  print("\n");
}

bool is(const u64* hash, const void* digest) {
  for (unsigned i = 0; i < 4; i++) {
    if (hash[i] != static_cast<const u64*>(digest)[i]) return false;
  }
  return true;
}

const char* name_of_hash() {
  static constexpr u64 intel[] = {0xa6053e051270b7ac, 0x6cfbe8ba8b3b413d, 0xc4916d99f2b3735d, 0xd4f8c05909f9bb3b};
  u64 hash[4] = {};
  for (u32 i = 0; i < 4; i++) {
    const Trap t = attempt([&] { hash[i] = cpu::rdmsr(hash_msr + i); });
    if (t.vector != vec::none) return "absent";
  }
  if (is(hash, intel)) return "intel";
  if (is(hash, sgx::signer(false))) return "first";
  return is(hash, sgx::signer(true)) ? "second" : "unknown";
}

void registers_and_launches() {
  found("feature_control", cpu::rdmsr(0x3a));
  found("hash", name_of_hash());
  sgx::fresh();
  sgx::build();
  found("first", sgx::einit(0, sgx::plain).rax);
  sgx::fresh();
  sgx::build();
  found("second", sgx::einit(0, sgx::other_signer).rax);
}

}  // namespace

CASE(launch) {
  registers_and_launches();
  const Trap t = attempt([] { sgx::set_launch_signer(true); });
  found("write", t.vector == vec::none ? "done" : "refused");
  registers_and_launches();
}

// SDM vol. 3D, 38.3, ECREATE: ATTRIBUTES.PROVISIONKEY is one of the bits that leaf 12H lists.
CASE(provision) {
  constexpr u64 provisionkey = 1 << 4;
  found("offered", cpu::cpuid(0x12, 1).eax & provisionkey);
  sgx::fresh();
  sgx::the_plan.secs.attributes.flags |= provisionkey;
  const Trap t = attempt([] { sgx::ecreate(0); });
  found("created", t.vector == vec::none ? "done" : "refused");
  if (t.vector != vec::none) {
    expect("vector", t.vector, vec::gp);
    expect("error", t.error, 0);
  }
  expect("status", sgx::look(sgx::secs_of(0)).status == sgx::invalid, t.vector != vec::none);
}
