// Hypercalls, as docs/hypercalls.md defines them: RAX is the number, RAX the result.
#include <vector>

#include "hypervisor/exits/exits.hpp"
#include "hypervisor/hypercalls.hpp"

namespace cloister::hypervisor::exits {
namespace {

using Change = std::optional<Ballooned> (Machine::*)(std::span<const arch::Gpa>);

/// `count` addresses of pages, 8 bytes each, in RAM at `list`.
u64 balloon(Machine& machine, u64 list, u64 count, Change change) {
  if (!machine.has_balloon()) return result_of(HypercallError::no_device);
  if (count > most_ballooned || list % sizeof(arch::Gpa) != 0) return result_of(HypercallError::invalid);
  std::vector<arch::Gpa> pages(count);
  if (!machine.memory.read(arch::Gpa{list}, std::as_writable_bytes(std::span(pages))))
    return result_of(HypercallError::fault);
  const Ballooned done = (machine.*change)(pages).value_or(Ballooned{});
  return done.pages == 0 && done.stopped ? static_cast<u64>(*done.stopped) : done.pages;
}

u64 hypercall(Machine& machine, const vmx::GeneralRegs& general) {
  const u64 list = general.gpr[arch::rdi], count = general.gpr[arch::rsi];
  switch (static_cast<Hypercall>(general.gpr[arch::rax])) {
    case Hypercall::version: return hypercall_interface;
    case Hypercall::epc_target:
      return machine.has_balloon() ? machine.balloon.target.load() : result_of(HypercallError::no_device);
    case Hypercall::epc_give: return balloon(machine, list, count, &Machine::give_epc);
    case Hypercall::epc_take: return balloon(machine, list, count, &Machine::take_epc);
  }
  return result_of(HypercallError::unknown);
}

}  // namespace

Result vmcall(Processor& processor, const vmx::Exit& exit) {
  if (processor.vcpu.system().cpl != 0) {
    processor.raise_ud();
    return std::nullopt;
  }
  vmx::GeneralRegs general = processor.vcpu.general();
  general.gpr[arch::rax] = hypercall(processor.machine, general);
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
