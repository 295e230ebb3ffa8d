// A domain that stays until somebody ends it and runs enclaves all the time, for tests of the toolstack. A round builds
// an enclave, launches it, and has it ask for its sealing key inside (SDM vol. 3D, 38.4, EGETKEY), which must be the
// same in every round. Then one of its pages is evicted, so that nothing of it could be entered any more, and all is
// removed. Meanwhile the other processors compute, each in rounds of its own. Prints READY once every processor has
// done a round, and WRONG after one that was not as it should be. Needs 1 MiB of EPC.
#include "processors.hpp"
#include "resident.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr unsigned request = 4;  // ISVSVN in KEYREQUEST

/// The first eight bytes of the key; 0 if the enclave did not get it.
u64 sealing_key() {
  launch();
  poke16(place_of(0, data_page), 0, static_cast<u16>(arch::KeyName::seal));
  poke16(place_of(0, data_page), request, 5);
  call_inside(arch::EncluLeaf::egetkey, in_enclave(data_page), in_enclave(output_page));
  execute();
  return ending.trap.vector == vec::done && ending.rax == 0 ? peek(place_of(0, output_page), 0) : 0;
}

bool evicted() {
  epa(version_array(0));
  evict(place_of(0, data_page), 0);
  return look(place_of(0, data_page)).status == invalid;
}

constexpr unsigned most_processors = 16;
volatile u64 rounds[most_processors];

/// Each number has digits enough to be computed by a library: sine, logarithm and exponential of what came before.
void compute(unsigned number) {
  double value = static_cast<double>(number + rounds[number]) + 0.5;
  asm volatile("fldl %0\n fsin\n fabs\n fld1\n fxch\n fyl2x\n fcos\n f2xm1\n fstpl %0"
               : "+m"(value)::"st", "st(1)", "st(2)");
  cpu::cpuid(7);
  rounds[number] = rounds[number] + 1;
}

bool all_computed() {
  for (unsigned i = 1; i < processors::count(); i++) {
    if (rounds[i] == 0) return false;
  }
  return true;
}

}  // namespace

CASE(resident) {
  u64 key = 0;
  bool ready = false;
  for (bool first = true;; first = false) {
    fresh();
    resident::prepare();
    const u64 found = sealing_key();
    if (first) key = found;
    if (found == 0 || found != key || !evicted()) print("WRONG\n");
    if (first) processors::start(compute);
    if (!ready && all_computed()) {
      print("READY\n");
      ready = true;
    }
    resident::echo();
    resident::sleep();
  }
}
