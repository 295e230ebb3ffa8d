// SGX_CONFLICT exits (SDM vol. 3D, 38.3, the leaves' tables of concurrency restrictions): a leaf of the guest's found
// what it needs in use, by another processor of the guest or by a leaf that the hypervisor runs on the same EPC. The
// leaf has changed nothing. The hypervisor's own work must not show: then the leaf is tried again. What two processors
// of the guest do to each other, they see as on a processor without the EPC virtualization extensions.
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor::exits {
namespace {

using vmx::SgxConflict;

/// What the leaf would have returned without the extensions; nullopt: #GP(0).
std::optional<arch::SgxError> plain_result(SgxConflict code, u32 leaf) {
  switch (code) {
    case SgxConflict::tracking_resource:
      if (leaf == static_cast<u32>(arch::EnclsLeaf::etrackc)) return arch::SgxError::epc_page_conflict;
      return std::nullopt;
    case SgxConflict::tracking_reference: return arch::SgxError::prev_trk_incmpl;
    case SgxConflict::page_error: return arch::SgxError::epc_page_conflict;
    case SgxConflict::page_exception: break;
  }
  return std::nullopt;
}

}  // namespace

Result sgx_conflict(Processor& processor, const vmx::Exit& exit) {
  // A leaf of ENCLU inside an enclave: the exit has left the enclave, whose ERESUME tries the leaf again.
  if (exit.enclave || processor.machine.root_leaves.ran_since(processor.root_leaves_at_entry)) return std::nullopt;

  vmx::GeneralRegs general = processor.vcpu.general();
  const u32 leaf = static_cast<u32>(general.gpr[arch::rax]);
  const auto error = plain_result(vmx::SgxConflictQualification::decode(exit.qualification).code, leaf);
  Trace& trace = processor.machine.trace;
  if (!error) {
    if (trace.wants().encls)
      trace.line(processor.now(), "encls", "leaf={:#x} rcx={:#x} fault=0xd", leaf, general.gpr[arch::rcx]);
    processor.raise_gp();
    return std::nullopt;
  }
  if (trace.wants().encls)
    trace.line(processor.now(), "encls", "leaf={:#x} rcx={:#x} rax={:#x}", leaf, general.gpr[arch::rcx],
               static_cast<u64>(*error));
  general.gpr[arch::rax] = static_cast<u64>(*error);
  general.rflags = (general.rflags & ~arch::rflags::status) | arch::rflags::zf;
  processor.complete(exit, general);
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
