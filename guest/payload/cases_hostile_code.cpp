// Random bytes as code at CPL 3, in both code modes.
#include "wild_code.hpp"

using wild::run_wild;

CASE(user64) {
  Random random(21);
  for (unsigned i = 0; i < 20000; i++) run_wild(Mode::user64, random);
  expect("alive", 1, 1);
}

CASE(user32) {
  Random random(22);
  for (unsigned i = 0; i < 20000; i++) run_wild(Mode::user32, random);
  expect("alive", 1, 1);
}

CASE(user64_with_every_extension) {
  Random random(23);
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE | CR4_FSGSBASE);
  for (unsigned i = 0; i < 20000; i++) run_wild(Mode::user64, random);
  expect("alive", 1, 1);
}
