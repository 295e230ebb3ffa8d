// A domain that stays and says which processor got an NMI, for tests of the toolstack: prints READY when all run, then
// "NMI N" for each.
#include "processors.hpp"
#include "resident.hpp"

namespace {

volatile bool runs[16];

bool report(Frame&) {
  const char number[] = {static_cast<char>('0' + (cpu::cpuid(1).ebx >> 24)), '\n', 0};
  print("NMI ");
  print(number);
  return true;
}

}  // namespace

CASE(nmi) {
  resident::prepare();
  set_hook(vec::nmi, report);
  const unsigned count = processors::count();
  if (count > 1) processors::start([](unsigned number) { runs[number] = true; });
  for (unsigned number = 1; number < count; number++) {
    while (!runs[number]) asm volatile("pause");
  }
  print("READY\n");
  while (true) {
    resident::echo();
    resident::sleep();
  }
}
