// ENCLS and ENCLU: the checks that every leaf shares (SDM vol. 3D, 38.1 and 38.2; vol. 3C, 26.1.3) and their operands.
#include "silicon/cpu/system_op.hpp"
#include "silicon/vcpu_impl.hpp"

namespace cloister::silicon {

namespace {

namespace v = arch::vector;
using arch::EnclsLeaf;

/// The processor has SGX: its package has EPC, and firmware locked IA32_FEATURE_CONTROL with SGX enabled.
bool has_sgx(Cpu& cpu) { return cpu.vcpu->package().epc_pages() != 0; }

/// ENCLS's operands are relative to DS, with the address size of the mode.
u64 operand_linear(const Cpu& cpu, u64 offset) {
  return cpu.code64 ? offset : static_cast<u32>(offset + cpu.seg_base[arch::seg_ds]);
}

/// The EPC page behind an operand: paging's own faults first, then #PF with the SGX bit if it is not EPC.
tl::expected<u32, Miss> epc_operand(Cpu& cpu, u64 linear, Access access) {
  const auto page = cpu.mmu->translate(linear, access, cpu.mmu->data_mode());
  if (!page) return tl::unexpected(page.error());
  const Slot* const slot = cpu.mmu->memory().find(page->physical);
  if (slot != nullptr && slot->host == nullptr) {
    const u64 offset = (page->physical - slot->base) >> arch::page_shift;
    if (const auto index = cpu.vcpu->package().index_of(slot->first_frame + offset)) return *index;
  }
  const u32 code = arch::pfec::p | arch::pfec::sgx | (access == Access::write ? arch::pfec::wr : 0);
  return tl::unexpected(Miss{.fault = {v::pf, true, code, linear}, .exit = {}});
}

void set_encls_flags(Cpu& cpu, u64 rax) {
  cpu.gpr[arch::rax] = rax;
  cpu.flags.set(rax == 0 ? 0 : arch::rflags::zf);
}

void encls_eremove(Cpu& cpu, const Op* op) {
  const u64 linear = operand_linear(cpu, cpu.gpr[arch::rcx]);
  if (arch::page_offset(linear) != 0) return raise_gp(cpu, op);
  if (cpu.code64 && !is_canonical(linear)) return raise_gp(cpu, op);
  const auto index = epc_operand(cpu, linear, Access::write);
  if (!index) return raise_miss(cpu, op, index.error());
  const EnclsResult result = eremove(cpu.vcpu->package(), *index);
  if (cpu.vcpu->encls_observer) cpu.vcpu->encls_observer(static_cast<u32>(EnclsLeaf::eremove), linear, result);
  set_encls_flags(cpu, result.rax);
  return leave_after(cpu, op);
}

void op_encls(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu) || !has_sgx(cpu)) return raise_ud(cpu, op);
  if (cpu.cpl != 0) return raise_ud(cpu, op);
  const u32 leaf = cpu.reg<u32>(arch::rax);
  const Controls& controls = cpu.vcpu->controls();
  if (controls.encls_exiting && ((controls.encls_bitmap >> std::min(leaf, 63u)) & 1) != 0) {
    cpu.exit = {};
    cpu.exit.reason = ExitReason::encls;
    return vm_exit(cpu, op);
  }
  const bool expand_down =
      !cpu.code64 && (cpu.seg[arch::seg_ds].attributes & (attr::code | attr::expand_down)) == attr::expand_down;
  const bool supported = leaf == static_cast<u32>(EnclsLeaf::eremove);
  if (!supported || (cpu.cr0 & arch::cr0::pg) == 0 || expand_down) {
    if (cpu.vcpu->encls_observer) cpu.vcpu->encls_observer(leaf, cpu.gpr[arch::rcx], {.fault = v::gp, .rax = 0});
    return raise_gp(cpu, op);
  }
  return encls_eremove(cpu, op);
}

/// No leaf of ENCLU is supported yet by this processor: each is an invalid leaf.
void op_enclu(Cpu& cpu, const Op* op) {
  if (!cpu.protected_mode() || virtual_8086(cpu) || !has_sgx(cpu)) return raise_ud(cpu, op);
  if ((cpu.cr0 & arch::cr0::ts) != 0) return raise_nm(cpu, op);
  if (cpu.cpl != 3) return raise_ud(cpu, op);
  return raise_gp(cpu, op);
}

/// LOCK, 66, F2 and F3 make ENCLS and ENCLU undefined (SDM vol. 3D, 38.3 and 38.4, "Instruction operand encoding").
template <Handler handler>
Selected select(const Insn& insn, Op&) {
  constexpr ZydisInstructionAttributes forbidden = ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP |
                                                   ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE |
                                                   ZYDIS_ATTRIB_HAS_OPERANDSIZE;
  if ((insn.info.attributes & forbidden) != 0) return {op_undefined, true};
  return {handler, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_ENCLS, select<op_encls>},
    {ZYDIS_MNEMONIC_ENCLU, select<op_enclu>},
};

}  // namespace

std::span<const Row> sgx_rows() { return rows; }

}  // namespace cloister::silicon
