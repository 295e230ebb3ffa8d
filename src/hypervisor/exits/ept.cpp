// EPT violations (SDM vol. 3C, 29.3.3.2): nothing is mapped at a guest-physical address. If an instruction's operand
// lies there, a device or the empty bus answers; a page table or code there, or an event's delivery, is the guest's
// end.
#include <fmt/format.h>

#include "hypervisor/exits/exits.hpp"
#include "hypervisor/exits/mmio_decode.hpp"

namespace cloister::hypervisor::exits {
namespace {

Stop crash(const vmx::Exit& exit, const std::string& what) {
  return {Ending::crashed, fmt::format("{} at guest-physical {:#x}", what, exit.physical.value)};
}

/// EREMOVE of a page that is free without a frame does nothing and is done: kernels begin with that, for all of EPC.
bool removes_nothing(Processor& processor, const vmx::Exit& exit) {
  const vmx::GeneralRegs general = processor.vcpu.general();
  const Pager* const pager = processor.machine.pager.get();
  return static_cast<u32>(general.gpr[arch::rax]) == static_cast<u32>(arch::EnclsLeaf::eremove) && pager != nullptr &&
         pager->absent(exit.physical);
}

void complete_eremove(Processor& processor, vmx::Exit exit, u8 length) {
  vmx::GeneralRegs general = processor.vcpu.general();
  general.gpr[arch::rax] = 0;
  general.rflags &= ~arch::rflags::status;
  exit.instruction_length = length;
  processor.complete(exit, general);
}

/// A page of EPC without a frame is needed: by an enclave, whose exit has left it, by an operand of a leaf, a page
/// walk, a fetch or an event's delivery. It is there when the guest goes on, and tries again, unless the guest has
/// given it back.
Result bring_page(Processor& processor, const vmx::Exit& exit) {
  switch (processor.machine.bring(exit.physical, processor)) {
    case Pager::Need::there: break;
    case Pager::Need::lost:
    case Pager::Need::given:
      processor.raise(Fault{arch::vector::pf, arch::pfec::p | arch::pfec::sgx, exit.linear.value});
      break;
    case Pager::Need::exhausted: return no_frame_for(exit.physical);
  }
  return std::nullopt;
}

}  // namespace

Stop no_frame_for(arch::Gpa page) {
  return {Ending::crashed,
          fmt::format("no page of EPC can be evicted for the one at guest-physical {:#x}", page.value)};
}

Result ept_violation(Processor& processor, const vmx::Exit& exit) {
  const auto access = vmx::EptQualification::decode(exit.qualification);
  const bool epc = processor.machine.is_epc(exit.physical);
  const bool by_operand =
      !exit.enclave && !exit.vectoring && !access.fetch && !(access.linear_valid && !access.translated);
  if (epc && !by_operand) return bring_page(processor, exit);
  if (exit.vectoring) return crash(exit, fmt::format("delivery of vector {} met no memory", exit.vectoring->vector));
  if (access.fetch) return crash(exit, "instruction fetch from no memory");
  if (access.linear_valid && !access.translated) return crash(exit, "page table outside memory");

  vmx::GeneralRegs general = processor.vcpu.general();
  const vmx::SystemRegs system = processor.vcpu.system();
  LinearMemory memory = processor.linear(system, general.rflags);
  u8 buffer[15];
  const auto bytes = std::span(buffer).first(memory.fetch(linear_rip(general, system), buffer));
  const auto insn = decode(bytes, code_bits(system));
  if (!insn) return crash(exit, "access to no memory by an instruction that cannot be fetched");

  if (epc && (insn->info.mnemonic == ZYDIS_MNEMONIC_ENCLS || insn->info.mnemonic == ZYDIS_MNEMONIC_ENCLU)) {
    if (insn->info.mnemonic == ZYDIS_MNEMONIC_ENCLU || !removes_nothing(processor, exit))
      return bring_page(processor, exit);
    complete_eremove(processor, exit, insn->info.length);
    return std::nullopt;
  }
  if (insn->info.mnemonic == ZYDIS_MNEMONIC_ENCLS) {
    // Outside memory there is no EPC either, and ENCLS says so with a page fault (SDM vol. 3D, 39.3).
    processor.raise(Fault{arch::vector::pf, arch::pfec::p | arch::pfec::sgx, exit.linear.value});
    return std::nullopt;
  }
  const auto done = emulate(*insn, general, system, memory);
  if (!done) {
    if (const auto* fault = std::get_if<Fault>(&done.error())) {
      processor.raise(*fault);
      return std::nullopt;
    }
    if (epc) return bring_page(processor, exit);  // which reads as what lies outside enclaves does, for any instruction
    return crash(exit, fmt::format("device access by an instruction that is not emulated, {},",
                                   disassemble(bytes, code_bits(system), general.rip)));
  }
  if (*done == Progress::again) {
    processor.vcpu.set_general(general);
    return std::nullopt;
  }
  vmx::Exit whole = exit;
  whole.instruction_length = insn->info.length;
  processor.complete(whole, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
