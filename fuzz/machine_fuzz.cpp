// Fuzzes the machine description: any bytes give a machine or one error with a position inside the file, and a machine
// that was read can be accounted for, unless it leaves its packages to the host.
#include <algorithm>
#include <string_view>

#include "check.hpp"
#include "machine/epc/machine_epc.hpp"
#include "machine/machine.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto machine = toolstack::read_machine(text);
  if (!machine) {
    const auto lines = static_cast<u32>(std::ranges::count(text, '\n')) + 1;
    const toolstack::Position at = machine.error().at;
    check(at.line <= lines && at.column <= size + 1 && !machine.error().message.empty());
    for (const char c : machine.error().message) check(c != '\n' && c != '\0');
    return 0;
  }
  if (machine->packages.empty()) {  // they are the host's
    check(machine->sgx_off.empty());
    return 0;
  }
  const auto epc = toolstack::MachineEpc::create(toolstack::epc_spec(*machine));
  check(epc.has_value());
  check((epc->count().total == 0) == !machine->sgx_off.empty());
  return 0;
}
