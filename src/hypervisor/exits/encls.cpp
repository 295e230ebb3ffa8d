// ENCLS exits. Without EPC every leaf exits (all bits of the ENCLS-exiting bitmap) and raises #UD, as on a processor
// without SGX. With EPC those exit that the domain's CPUID does not list, which raise #GP(0), as on a processor without
// the feature; ECREATE in a domain that may not have the provisioning key; and what it takes to page EPC by trapping
// (epc/exiting_leaves.hpp). The rest, which is all of them in a static partition, runs in the guest.
#include <fmt/format.h>

#include "hypervisor/exits/ecreate.hpp"
#include "hypervisor/exits/trap/leaves.hpp"

namespace cloister::hypervisor::exits {
namespace {

LeafEnd run(Processor& processor, arch::EnclsLeaf leaf) {
  EnclsOperands operands(processor);
  operands.allowed();
  if (operands.failed()) return end_of(operands);
  return leaf == arch::EnclsLeaf::ecreate ? ecreate(processor, operands) : trapped(processor, operands, leaf);
}

/// Those that say in CF that they have done nothing, or done it with a reservation.
bool sets_carry(arch::SgxError error) {
  using enum arch::SgxError;
  return error == va_slot_occupied || error == pg_invld || error == pg_nonepc;
}

void show(Processor& processor, u32 leaf, const LeafEnd& end) {
  Trace& trace = processor.machine.trace;
  if (!trace.wants().encls) return;
  const u64 rcx = processor.vcpu.general().gpr[arch::rcx];
  if (const Fault* const fault = std::get_if<Fault>(&end)) {
    trace.line(processor.now(), "encls", "leaf={:#x} rcx={:#x} fault={:#x}", leaf, rcx, fault->vector);
  } else if (!std::holds_alternative<Again>(end) && !std::holds_alternative<Stop>(end)) {
    const Code* const code = std::get_if<Code>(&end);
    trace.line(processor.now(), "encls", "leaf={:#x} rcx={:#x} rax={:#x}", leaf, rcx,
               code != nullptr ? static_cast<u64>(code->error) : 0);
  }
}

Result deliver(Processor& processor, const vmx::Exit& exit, const LeafEnd& end) {
  if (const Stop* const stop = std::get_if<Stop>(&end)) return *stop;
  if (const Fault* const fault = std::get_if<Fault>(&end)) processor.raise(*fault);
  if (std::holds_alternative<Unchanged>(end)) processor.complete(exit);
  if (const Code* const code = std::get_if<Code>(&end)) {
    vmx::GeneralRegs general = processor.vcpu.general();
    general.gpr[arch::rax] = static_cast<u64>(code->error);
    general.rflags &= ~arch::rflags::status;
    if (code->error != arch::SgxError::success)
      general.rflags |= sets_carry(code->error) ? arch::rflags::cf : arch::rflags::zf;
    processor.complete(exit, general);
  }
  return std::nullopt;
}

}  // namespace

Result encls(Processor& processor, const vmx::Exit& exit) {
  const Machine& machine = processor.machine;
  const u32 leaf = static_cast<u32>(processor.vcpu.general().gpr[arch::rax]);
  const auto has = [bit = std::min(leaf, 63u)](u64 leaves) { return ((leaves >> bit) & 1) != 0; };
  if (!processor.controls.encls_exiting || !has(processor.controls.encls_bitmap))
    return Stop{Ending::crashed, fmt::format("ENCLS leaf {:#x} exited though it was not asked for", leaf)};
  if (has(machine.hidden_leaves)) {
    const bool sgx = !machine.epc.empty();
    const LeafEnd end = sgx ? general_protection : Fault{arch::vector::ud, std::nullopt, 0};
    show(processor, leaf, end);
    return deliver(processor, exit, end);
  }
  const LeafEnd end = run(processor, static_cast<arch::EnclsLeaf>(leaf));
  show(processor, leaf, end);
  return deliver(processor, exit, end);
}

}  // namespace cloister::hypervisor::exits
