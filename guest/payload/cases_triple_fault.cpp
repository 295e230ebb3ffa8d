// The last case ends the machine: a fault while #DF is delivered is a triple fault, which shuts the processor down (SDM
// vol. 3A, 6.15, interrupt 8). No DONE line follows.
#include "payload.hpp"

CASE(before) { expect("alive", 1, 1); }

CASE(shutdown) {
  expect("about_to_shut_down", 1, 1);
  print("\n");
  load_idt(0);
  asm volatile("ud2");
}
