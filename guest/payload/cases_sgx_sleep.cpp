// Suspend to RAM with enclaves in the EPC (ACPI 6.4, 16.1.3; SDM vol. 3D, 36.5): afterwards every page is invalid, also
// of a kernel that has not cleaned up, and the EPC is as good as after power-up. RAM, in which the payload is, stays:
// it goes on at its beginning.
#include "sgx/machine.hpp"

extern "C" const u8 start32_again[];

namespace {

using namespace sgx;

constexpr u64 facs_x_waking_vector = 0xef018;
constexpr u16 pm1_status = 0x608, pm1_control = 0x604, sleep_now = 1u << 13 | 1u << 10 /* S3 */, woken = 1u << 15;
constexpr unsigned request = 4;  // ISVSVN in KEYREQUEST

bool slept;
u64 key_before;

/// The first eight bytes of a sealing key of enclave 0.
u64 sealing_key() {
  poke16(place_of(0, data_page), 0, static_cast<u16>(arch::KeyName::seal));
  poke16(place_of(0, data_page), request, 5);
  call_inside(arch::EncluLeaf::egetkey, in_enclave(data_page), in_enclave(output_page));
  execute();
  return ending.trap.vector == vec::done && ending.rax == 0 ? peek(place_of(0, output_page), 0) : 0;
}

unsigned valid_places() {
  unsigned count = 0;
  for (unsigned place = 0; place < places; place++) count += look(place).status != invalid;
  return count;
}

/// Two enclaves, of which one has an evicted page, and version arrays.
void go_to_sleep() {
  fresh();
  launch(0);
  key_before = sealing_key();
  build(1);
  for (unsigned i = 0; i < 2; i++) epa(version_array(i));
  evict(place_of(0, output_page), 0);
  slept = valid_places() > 0;
  at<volatile u64>(facs_x_waking_vector) = reinterpret_cast<u64>(start32_again);
  cpu::out16(pm1_control, sleep_now);
  while (true) asm volatile("pause");
}

}  // namespace

CASE(sleep) {
  if (!slept) go_to_sleep();
  expect("woken", cpu::in16(pm1_status) & woken, woken);
  cpu::out16(pm1_status, woken);
  baseline();
  expect("valid_pages", valid_places(), 0);
  const Trap entered = enter_enclave();
  expect("eenter", entered.vector, vec::pf);
  expect("error", entered.error >> 15 & 1, 1);  // PFEC.SGX
  operands.pageinfo = {
      .linaddr = 0, .srcpge = address(operands.image), .secinfo = address(&operands.pcmd), .secs = epc_at(0)};
  call_encls(arch::EnclsLeaf::eldu, address(&operands.pageinfo), epc_at(spare(0)), epc_at(version_array(0)));
  execute();
  expect("eldu", ending.trap.vector, vec::pf);  // the versions are gone
  the_plan.reset();
  launch(0);
  expect("same_key", sealing_key(), key_before);
}
