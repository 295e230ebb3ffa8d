// Random bytes as code at CPL 0. What they break of the payload's own machine is put back as far as it can be; the run
// may well end in a shutdown, or hang with interrupts off.
#include "wild_code.hpp"

using wild::run_wild;

CASE(kernel64) {
  Random random(24);
  for (unsigned i = 0; i < 20000; i++) {
    run_wild(Mode::kernel64, random);
    if (i % 4 == 3) reset_machine();
  }
  expect("alive", 1, 1);
}

CASE(kernel32) {
  Random random(25);
  for (unsigned i = 0; i < 20000; i++) {
    run_wild(Mode::kernel32, random);
    if (i % 4 == 3) reset_machine();
  }
  expect("alive", 1, 1);
}
