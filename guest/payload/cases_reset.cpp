// A guest that resets its machine as soon as it starts (ACPI 6.4, 4.8.3.6), for tests of what follows.
#include "payload.hpp"

CASE(reset) {
  constexpr u16 reset_port = 0x602;
  constexpr u8 reset_value = 1;
  cpu::out8(reset_port, reset_value);
}
