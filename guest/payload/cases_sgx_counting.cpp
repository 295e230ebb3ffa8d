// A domain that stays until somebody ends it, and has one enclave as long as it lives, for tests of domains that are
// saved or move with their enclaves alive. A thread is in the enclave nearly all the time and counts there, one by one,
// in rounds of so many steps; what it has counted is the same outside. A second enclave has a page that the guest
// itself has evicted, and one that it has blocked. Prints READY after the first round, and WRONG after one that was not
// as it should be: a step that was lost, or taken twice. Needs 1 MiB of EPC.
#include "resident.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr u64 steps = 400'000;
constexpr unsigned other = 1, blocked_page = read_only_page;

bool second_is_as_it_was() {
  return look(place_of(other, output_page)).status == invalid &&
         (look(place_of(other, blocked_page)).flags & arch::rdinfo::blocked) != 0;
}

}  // namespace

CASE(counting) {
  fresh();
  resident::prepare();
  the_plan.tcs.oentry = count;
  launch();
  launch(other);
  epa(version_array(0));
  evict(place_of(other, output_page), 0);
  block(place_of(other, blocked_page));
  u64 outside = 0;
  while (true) {
    call_inside(static_cast<arch::EncluLeaf>(steps), in_enclave(data_page), 0);
    execute();
    outside += steps;
    if (ending.trap.vector != vec::done || ending.rax != outside || peek(place_of(0, data_page), 0) != outside ||
        !second_is_as_it_was())
      print("WRONG\n");
    if (outside == steps) print("READY\n");
    resident::echo();
  }
}
