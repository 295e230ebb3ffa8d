// A domain that says whose keys its processor has, for tests of the toolstack: an enclave asks for its sealing key and
// for the one that its reports are verified with (SDM vol. 3D, 38.4, EGETKEY). They are printed, which no enclave
// should do with them: `SEAL` and `REPORT`, with the first eight bytes of each. Then it prints READY, and stays until
// somebody ends it. Needs 1 MiB of EPC.
#include "resident.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr unsigned isvsvn = 4;  // in KEYREQUEST

void show_key(const char* name, arch::KeyName key) {
  poke16(place_of(0, data_page), 0, static_cast<u16>(key));
  poke16(place_of(0, data_page), isvsvn, 5);
  call_inside(arch::EncluLeaf::egetkey, in_enclave(data_page), in_enclave(output_page));
  execute();
  if (ending.trap.vector != vec::done || ending.rax != 0) {
    print("WRONG\n");
    return;
  }
  print(name);
  print_hex(peek(place_of(0, output_page), 0));
  print("\n");
}

}  // namespace

CASE(platform) {
  fresh();
  resident::prepare();
  launch();
  show_key("SEAL ", arch::KeyName::seal);
  show_key("REPORT ", arch::KeyName::report);
  print("READY\n");
  while (true) {
    resident::echo();
    resident::sleep();
  }
}
