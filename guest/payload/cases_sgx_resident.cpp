// A domain that stays until somebody ends it and runs enclaves all the time, for tests of the toolstack. A round builds
// an enclave, launches it, and has it ask for its sealing key inside (SDM vol. 3D, 38.4, EGETKEY), which must be the
// same in every round. Then one of its pages is evicted, so that nothing of it could be entered any more, and all is
// removed. Prints READY after the first round, and WRONG after one that was not as it should be. Needs 1 MiB of EPC.
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

}  // namespace

CASE(resident) {
  u64 key = 0;
  for (bool first = true;; first = false) {
    fresh();
    resident::prepare();
    const u64 found = sealing_key();
    if (first) key = found;
    if (found == 0 || found != key || !evicted()) print("WRONG\n");
    if (first) print("READY\n");
    resident::echo();
    resident::sleep();
  }
}
