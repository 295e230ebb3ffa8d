// Two processors and one EPC page (SDM vol. 3D, 38.3, tables of concurrency restrictions): the first makes it a SECS
// again and again, the second removes it. Where a hypervisor runs ECREATE on the guest's behalf, EREMOVE collides with
// the hypervisor and not with the guest, and must not know. Needs two processors and 1 MiB of EPC.
#include "processors.hpp"
#include "sgx/machine.hpp"

namespace {

using Leaf = cloister::arch::EnclsLeaf;

u64 tables, page;
volatile u64 removals, removal_faults, creation_faults;

/// Counts, and goes on after the three bytes of ENCLS.
bool step_over(Frame& frame) {
  volatile u64& faults = frame.gpr[0] == static_cast<u64>(Leaf::eremove) ? removal_faults : creation_faults;
  faults = faults + 1;
  frame.rip += 3;
  return true;
}

void remove(unsigned) {
  cpu::set_cr3(tables);
  for (;;) {
    sgx::encls(Leaf::eremove, 0, page);
    removals = removals + 1;
  }
}

}  // namespace

CASE(sgx_conflict) {
  sgx::fresh();
  tables = cpu::cr3();
  page = sgx::epc_at(sgx::secs_of(0));
  set_hook(vec::gp, step_over);
  set_hook(vec::pf, step_over);
  processors::start(remove);
  while (!removals) asm volatile("pause");
  constexpr u64 rounds = 5000;
  for (u64 i = 0; i < rounds; i++) {
    const u64 before = removals;
    sgx::ecreate(0);
    while (removals == before) asm volatile("pause");
  }
  expect("removal_faults", removal_faults, 0);
  expect("some_created", creation_faults < rounds, 1);
}
