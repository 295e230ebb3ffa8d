// ENCLS, ENCLU and ENCLV: the checks that every leaf shares (SDM vol. 3D, 38.1 to 38.5; vol. 3C, 26.1.3).
#include <span>

#include "silicon/isa/system/system_op.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/sgx/guest_operands.hpp"
#include "silicon/sgx/leaves/leaf_table.hpp"
#include "silicon/sgx/leaves/rows.hpp"

namespace cloister::silicon {

namespace {

namespace v = arch::vector;
using arch::EnclsLeaf;

enum class Instruction : u8 { encls, enclu, enclv };

/// The processor has SGX: its package has EPC, and firmware locked IA32_FEATURE_CONTROL with SGX enabled.
bool has_sgx(const Cpu& cpu) { return cpu.mmu->package().epc_pages() != 0; }

bool expand_down_ds(const Cpu& cpu) {
  constexpr u32 mask = attr::code | attr::expand_down;
  return !cpu.code64 && (cpu.seg[arch::seg_ds].attributes & mask) == attr::expand_down;
}

/// For the diagnostics door.
void count(EventCounts& counts, Instruction instruction, u32 leaf, const LeafResult& result) {
  switch (instruction) {
    case Instruction::encls: EventCounts::add(counts.encls, leaf); break;
    case Instruction::enclu: return EventCounts::add(counts.enclu, leaf);
    case Instruction::enclv: return EventCounts::add(counts.enclv, leaf);
  }
  const Code* const code = result && leaf == static_cast<u32>(EnclsLeaf::einit) ? std::get_if<Code>(&*result) : nullptr;
  if (code != nullptr && code->error != arch::SgxError::success) {
    EventCounts::add(counts.einit_failures, static_cast<u64>(code->error));
  }
}

void observe(Cpu& cpu, const LeafResult& result, u32 leaf, u64 rcx) {
  const auto& observer = cpu.vcpu->encls_observer();
  if (!observer) return;
  EnclsResult seen{.fault = std::nullopt, .rax = 0};
  if (!result) {
    seen.fault = result.error().fault.vector;
  } else if (const Code* const code = std::get_if<Code>(&*result)) {
    seen.rax = static_cast<u64>(code->error);
  }
  observer(leaf, rcx, seen);
}

/// No leaf of a guest's runs while the package's root moves (vmx/root_mover.hpp).
LeafResult run_unlatched(LeafContext& ctx, const LeafRow& row) {
  if (fails("LATCH.guest", ctx.package.latch() != Latch::open)) return leaf_gp();
  return row.leaf(ctx);
}

/// A leaf of ENCLS, beside others of the package or alone. Who comes too late is told in the way of the leaves of its
/// kind: by an exception, or alone by a code.
LeafResult run_encls(LeafContext& ctx, const LeafRow& row) {
  const Held package(ctx.package.leaves(), row.alone ? LockMode::exclusive : LockMode::shared);
  if (!fails("ENCLS.package_busy", !package)) return run_unlatched(ctx, row);
  if (row.alone) return failure(arch::SgxError::epc_page_conflict);
  return leaf_gp();
}

/// Runs a leaf and shows software its result. False: control goes to the run loop, which finds out why.
bool run_leaf(Cpu& cpu, const Op* op, const LeafRow* row, Instruction instruction) {
  if (row == nullptr) return true;  // only with the check for a leaf switched off
  GuestOperands operands(cpu);
  LeafContext ctx(operands, cpu.mmu->package(), &cpu);
  ctx.next_rip = cpu.rip_after(op);
  // What an asynchronous exit in the middle would save is the state at this instruction.
  cpu.rip = cpu.rip_of(op);
  const u64 rcx = ctx.rcx();
  const LeafResult result = instruction == Instruction::encls ? run_encls(ctx, *row) : run_unlatched(ctx, *row);
  count(ctx.package.counts(), instruction, row->number, result);
  if (instruction == Instruction::encls) observe(cpu, result, row->number, rcx);
  if (!result) {
    raise_miss(cpu, op, result.error());
    return false;
  }
  if (const Code* const code = std::get_if<Code>(&*result)) {
    cpu.gpr[arch::rax] = static_cast<u64>(code->error);
    cpu.flags.set((code->zf ? arch::rflags::zf : 0) | (code->cf ? arch::rflags::cf : 0));
  }
  if (!ctx.transferred) return true;
  cpu.at = op + 1;
  cpu.leave = Leave::jump;
  return false;
}

bool refused(Cpu& cpu, const Op* op, Fault fault) {
  raise(cpu, op, fault);
  return false;
}
bool refused_ud(Cpu& cpu, const Op* op) { return refused(cpu, op, {v::ud, false, 0}); }
bool refused_gp(Cpu& cpu, const Op* op) { return refused(cpu, op, {v::gp, true, 0}); }

[[gnu::noinline]] bool encls(Cpu& cpu, const Op* op) {
  // Real mode does not get here: the instruction is undefined for the decoder. In virtual-8086 mode CPL is 3.
  if (!has_sgx(cpu)) return refused_ud(cpu, op);
  if (fails("ENCLS.cpl", cpu.cpl != 0)) return refused_ud(cpu, op);
  const u32 leaf = cpu.reg<u32>(arch::rax);
  const Controls& controls = cpu.vcpu->controls();
  if (controls.encls_exiting && ((controls.encls_bitmap >> std::min(leaf, 63u)) & 1) != 0) {
    cpu.exit = {};
    cpu.exit.reason = ExitReason::encls;
    vm_exit(cpu, op);
    return false;
  }
  const LeafRow* const row = find_leaf(encls_leaves, cpu.mmu->package().features(), leaf);
  if (fails("ENCLS.leaf", row == nullptr) || fails("ENCLS.paging", (cpu.cr0 & arch::cr0::pg) == 0) ||
      fails("ENCLS.expand_down", expand_down_ds(cpu))) {
    observe(cpu, leaf_gp(), leaf, cpu.gpr[arch::rcx]);
    return refused_gp(cpu, op);
  }
  return run_leaf(cpu, op, row, Instruction::encls);
}

[[gnu::noinline]] bool enclu(Cpu& cpu, const Op* op) {
  if (fails("ENCLU.mode", virtual_8086(cpu)) || !has_sgx(cpu)) return refused_ud(cpu, op);
  if (fails("ENCLU.task_switched", (cpu.cr0 & arch::cr0::ts) != 0)) return refused(cpu, op, {v::nm, false, 0});
  if (fails("ENCLU.cpl", cpu.cpl != 3)) return refused_ud(cpu, op);
  const LeafRow* const row = find_leaf(enclu_leaves, cpu.mmu->package().features(), cpu.reg<u32>(arch::rax));
  if (fails("ENCLU.leaf", row == nullptr)) return refused_gp(cpu, op);
  if (fails("ENCLU.paging", (cpu.cr0 & arch::cr0::pg) == 0)) return refused_gp(cpu, op);
  if (fails("ENCLU.numeric_error", (cpu.cr0 & arch::cr0::ne) == 0)) return refused_gp(cpu, op);
  const bool code16 = !cpu.code64 && (cpu.seg[arch::seg_cs].attributes & attr::db) == 0;
  if (fails("ENCLU.code16", code16) || fails("ENCLU.expand_down", expand_down_ds(cpu))) return refused_gp(cpu, op);
  const Where where = row != nullptr ? row->where : Where::anywhere;
  if (fails("ENCLU.inside", cpu.enclave.active && where == Where::outside)) return refused_gp(cpu, op);
  if (fails("ENCLU.outside", !cpu.enclave.active && where == Where::inside)) return refused_gp(cpu, op);
  return run_leaf(cpu, op, row, Instruction::enclu);
}

[[gnu::noinline]] bool enclv(Cpu& cpu, const Op* op) {
  if (!has_sgx(cpu)) return refused_ud(cpu, op);
  if (!cpu.mmu->package().features().enclv) return refused_ud(cpu, op);
  if (fails("ENCLV.compatibility", cpu.long_mode() && !cpu.code64)) return refused_ud(cpu, op);
  const Controls& controls = cpu.vcpu->controls();
  if (fails("ENCLV.cpl", cpu.cpl != 0) || fails("ENCLV.exiting", !controls.enclv_exiting)) return refused_ud(cpu, op);
  const u32 leaf = cpu.reg<u32>(arch::rax);
  if (((controls.enclv_bitmap >> std::min(leaf, 63u)) & 1) != 0) {
    cpu.exit = {};
    cpu.exit.reason = ExitReason::enclv;
    vm_exit(cpu, op);
    return false;
  }
  const LeafRow* const row = find_leaf(enclv_leaves, cpu.mmu->package().features(), leaf);
  if (fails("ENCLV.leaf", row == nullptr) || fails("ENCLV.paging", (cpu.cr0 & arch::cr0::pg) == 0))
    return refused_gp(cpu, op);
  if (fails("ENCLV.expand_down", expand_down_ds(cpu))) return refused_gp(cpu, op);
  return run_leaf(cpu, op, row, Instruction::enclv);
}

/// Apart from the functions above, so that it ends in a jump to the next handler. What a leaf has made due is seen
/// before the next block: where each instruction is a block of its own the budget is spent.
template <bool (*leaf)(Cpu&, const Op*)>
void op_leaf(Cpu& cpu, const Op* op) {
  if (!leaf(cpu, op)) return;
  return jump_direct<0>(cpu, op, cpu.rip_after(op));
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
    {ZYDIS_MNEMONIC_ENCLS, select<op_leaf<encls>>},
    {ZYDIS_MNEMONIC_ENCLU, select<op_leaf<enclu>>},
    {ZYDIS_MNEMONIC_ENCLV, select<op_leaf<enclv>>},
};

}  // namespace

std::span<const Row> sgx_rows() { return rows; }

}  // namespace cloister::silicon
