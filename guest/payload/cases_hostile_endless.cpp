// Faults for ever: the handler of #UD is #UD, on an IST stack that never runs out, so no instruction ever retires. Only
// the host can end this.
#include "hostile.hpp"

CASE(endless_faults) {
  expect("begins", 1, 1);
  print("\n");
  place_code(CODE("ud2"));
  set_gate(6, code_va, KERNEL_CS, 14, 0, 1);
  run_context(context_for(Mode::kernel64));
}
