// A domain that stays until somebody ends it, has as much EPC as it is asked to (docs/hypercalls.md), and runs enclaves
// in the first of it meanwhile, for tests of the toolstack. It gives its last pages first. Prints READY once it has run
// one, "HAS n" whenever it has n pages after it had more or less, LACKS the first time that there is no frame for what
// it takes, and WRONG after what should not be. Needs 2 MiB of EPC, of which it keeps one.
#include "resident.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr u64 target = 0x434c'0010, give = 0x434c'0011, take = 0x434c'0012;
constexpr u64 no_frame = ~u64{12} + 1, kept = 256;
constexpr unsigned most = 512;

alignas(page_bytes) u64 list[most];
u64 all, has;
bool lacks;

u64 hypercall(u64 number, u64 first = 0, u64 second = 0) {
  u64 rax = number;
  asm volatile("vmcall" : "+a"(rax) : "D"(first), "S"(second) : "memory");
  return rax;
}

void print_number(u64 number) {
  char text[21] = {};
  unsigned at = 20;
  do {
    text[--at] = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number != 0);
  print(text + at);
}

/// False: nothing could be done.
bool step() {
  const u64 asked = hypercall(target), wanted = asked < kept ? kept : asked;
  if (has == wanted) return false;
  const bool more = wanted > has;
  u64 count = more ? wanted - has : has - wanted;
  if (count > most) count = most;
  const u64 first = more ? has : has - count;
  // What is given last is taken first.
  for (u64 i = 0; i < count; i++) list[i] = physical_at(0) + (first + (more ? i : count - 1 - i)) * page_bytes;
  const u64 done = hypercall(more ? take : give, address(list), count);
  if (done == no_frame && more) {
    if (!lacks) print("LACKS\n");
    lacks = true;
    return false;
  }
  if (done > count) {
    print("WRONG\n");
    return false;
  }
  lacks = false;
  has = more ? has + done : has - done;
  return done != 0;
}

void run_enclave() {
  fresh();
  resident::prepare();
  launch();
  epa(version_array(0));
  evict(place_of(0, data_page), 0);
  if (look(place_of(0, data_page)).status != invalid) print("WRONG\n");
}

}  // namespace

CASE(balloon_resident) {
  const cpu::Cpuid section = cpu::cpuid(0x12, 2);
  all = has = ((u64{section.edx & 0xfffff} << 32) | (section.ecx & 0xfffff000)) / page_bytes;
  run_enclave();
  print("READY\n");
  while (true) {
    const u64 before = has;
    while (step()) run_enclave();
    if (has != before) {
      print("HAS ");
      print_number(has);
      print("\n");
    }
    run_enclave();
    resident::echo();
    resident::sleep();
  }
}
