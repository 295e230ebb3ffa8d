// A domain that stays until somebody ends it, and uses all of its EPC, for tests of domains that are saved or move with
// their enclaves alive: an enclave that counts as that of sgx_counting does, and version arrays in all other pages.
// Prints READY after the first round, and WRONG after one in which a step was lost or taken twice, or a page was not
// what it is. Needs 1 to 4 MiB of EPC, of one section.
#include "resident.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr u64 steps = 100'000, type_bits = 0xff00;

unsigned all_places() {
  const cpu::Cpuid section = cpu::cpuid(0x12, 2);
  return static_cast<unsigned>(((section.ecx & 0xffff'f000) | u64{section.edx & 0xf'ffff} << 32) / page_bytes);
}

constexpr unsigned most = 1024;
u64 types[most];

}  // namespace

CASE(full) {
  fresh();
  resident::prepare();
  the_plan.tcs.oentry = count;
  launch();
  const unsigned pages = all_places();
  for (unsigned place = 0; place < pages && place < most; place++) {
    if (look(place).status == invalid) epa(place);
    types[place] = look(place).flags & type_bits;
  }
  u64 outside = 0;
  while (true) {
    call_inside(static_cast<arch::EncluLeaf>(steps), in_enclave(data_page), 0);
    execute();
    outside += steps;
    bool well = ending.trap.vector == vec::done && ending.rax == outside && peek(place_of(0, data_page), 0) == outside;
    for (unsigned place = 0; place < pages && place < most; place++) {
      const arch::Rdinfo now = look(place);
      well = well && now.status != invalid && (now.flags & type_bits) == types[place];
    }
    if (!well) print("WRONG\n");
    if (outside == steps) print("READY\n");
    resident::echo();
  }
}
