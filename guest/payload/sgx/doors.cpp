// What ENCLS, ENCLU and ENCLV check before any leaf (SDM vol. 3D, 38.3, 38.4 and 38.5, the instructions' Operations),
// and what all operands share.
#include "tables.hpp"

namespace sgx {

namespace {

constexpr u16 scratch = SCRATCH_SELECTOR;
constexpr const char* enabled = "IA32_FEATURE_CONTROL is locked with SGX enabled, as firmware leaves it";

void prepare_encls() {
  launch();
  call_encls(arch::EnclsLeaf::eremove, 0, epc_at(place_of(0, data_page)));
}
/// In compatibility mode, by the enclave's own mapping, with this DS.
void with_segment(u32 limit, u32 attributes) {
  set_gdt(SCRATCH_SELECTOR, descriptor(0, limit, attributes));
  call.mode = Mode::kernel32;
  call.rcx = in_enclave(data_page);
  call.adjust = [](Context& c) { c.data = scratch; };
}
constexpr u32 expand_down = 0xc097;

constexpr Row encls_rows[] = {
    excluded("ENCLS:transaction", "in a transaction: it aborts", done, rtm),
    unit("ENCLS:mode", "outside protected mode, or in virtual-8086 mode", ud, "SgxFront.RealModeHasNoLeaves", no_mode),
    row("ENCLS.cpl", "CPL is not 0", ud, [] { call.mode = Mode::user64; }),
    unit("ENCLS:exits", "the leaf's bit in the ENCLS-exiting bitmap: VM exit", ud, "SgxFront.EnclsExits", vmx),
    never("ENCLS:enabled", "IA32_FEATURE_CONTROL: not locked, or SGX not enabled", gp, enabled),
    row("ENCLS.leaf", "EAX is no leaf of this processor", gp, [] { call.leaf = 0x14; }),
    unit("ENCLS.paging", "paging is off", gp, "SgxFront.LeavesNeedPaging", no_mode),
    row("ENCLS.expand_down", "DS is expand-down (not 64-bit)", gp, [] { with_segment(0, expand_down); }),
    unit("ENCLS.package_busy", "another leaf has the package alone", gp, "SgxFront.LeavesShareTheirPackage", package),
    row("OPERAND.canonical", "an operand's address is not canonical", gp, [] { call.rcx ^= u64{1} << 63; }),
    row("OPERAND.segment", "an operand is outside DS (not 64-bit)", gp, [] { with_segment(0x5ffff, attr_data); }),
    state(
        "ENCLS:32", "in compatibility mode with a flat DS", ok, [] { with_segment(0xfffff, attr_data); },
        [] { expect("status", look(place_of(0, data_page)).status, invalid); }),
    state(
        "ENCLS:upper_half", "RAX[63:32] is ignored", ok, [] { call.leaf |= u64{7} << 32; },
        [] { expect("status", look(place_of(0, data_page)).status, invalid); }),
};

void prepare_enclu() {
  the_plan.tcs.oentry = come_out;
  launch();
  call_enclu(arch::EncluLeaf::eenter, in_enclave(tcs_page), code_va + 3);
}

constexpr Row enclu_rows[] = {
    excluded("ENCLU:transaction", "in a transaction: it aborts", done, rtm),
    excluded("ENCLU:endbranch", "indirect-branch tracking waits for ENDBRANCH", done, cet_ibt),
    unit("ENCLU.mode", "outside protected mode, or in virtual-8086 mode", ud, "SgxFront.Virtual8086HasNoLeaves",
         no_mode),
    row("ENCLU.task_switched", "CR0.TS is set", nm, [] { cpu::set_cr0(cpu::cr0() | CR0_TS); }),
    row("ENCLU.cpl", "CPL is not 3", ud, [] { call.mode = Mode::kernel64; }),
    never("ENCLU:enabled", "IA32_FEATURE_CONTROL: not locked, or SGX not enabled", gp, enabled),
    row("ENCLU.leaf", "EAX is no leaf of this processor", gp, [] { call.leaf = 0x55; }),
    unit("ENCLU.paging", "paging is off", gp, "SgxFront.LeavesNeedPaging", no_mode),
    row("ENCLU.numeric_error", "CR0.NE is 0", gp, [] { cpu::set_cr0(cpu::cr0() & ~u64{CR0_NE}); }),
    planned(
        "ENCLU.code16", "16-bit code", gp, [] { the_plan.secs.attributes.flags &= ~arch::attributes::mode64bit; },
        [] {
          set_gdt(SCRATCH_SELECTOR, descriptor(0, 0xfffff, (attr_code32 & ~0x4000u) | attr_dpl3));
          call.mode = Mode::user32;
          call.adjust = [](Context& c) { c.cs = scratch | 3; };
        }),
    planned(
        "ENCLU.expand_down", "DS is expand-down (not 64-bit)", gp,
        [] { the_plan.secs.attributes.flags &= ~arch::attributes::mode64bit; },
        [] {
          set_gdt(SCRATCH_SELECTOR, descriptor(0, 0, expand_down | attr_dpl3));
          call.rbx = in_enclave(data_page);  // no TCS: #PF, if it is looked at
          call.mode = Mode::user32;
          call.adjust = [](Context& c) { c.data = scratch | 3; };
        }),
    alone(row("ENCLU.outside", "a leaf for enclaves outside", gp,
              [] { call_enclu(arch::EncluLeaf::eexit, code_va + 3, 0); })),
    state(
        "ENCLU:outside", "EENTER outside", done, [] {}, [] { expect("entered", ending.trap.vector, vec::done); }),
};

void prepare_enclv() {
  launch();
  call = {.door = Door::enclv, .leaf = 1, .rbx = epc_at(place_of(0, data_page)), .rcx = epc_at(secs_of(0))};
}

constexpr Result conflict = zf(static_cast<u64>(arch::SgxError::epc_page_conflict));
constexpr const char *checks = "SgxRows.EnclvChecks", *front = "SgxFront.Enclv";

constexpr Row enclv_rows[] = {
    unit("ENCLV:mode", "outside protected mode", ud, front, vmx),
    unit("ENCLV.compatibility", "compatibility mode", ud, front, vmx),
    unit("ENCLV.cpl", "CPL is not 0", ud, front, vmx),
    row("ENCLV.exiting", "the control for ENCLV exiting is 0", ud, [] {}),
    unit("ENCLV.leaf", "EAX is no leaf", gp, front, vmx),
    unit("ENCLV.paging", "paging is off", gp, front, vmx),
    unit("ENCLV.expand_down", "DS is expand-down (not 64-bit)", gp, front, vmx),
};
constexpr Row child_rows[] = {
    unit("VIRTCHILD.rbx_aligned", "RBX is not a multiple of 4096", gp, checks, vmx),
    unit("VIRTCHILD.rcx_aligned", "RCX is not a multiple of 4096", gp, checks, vmx),
    unit("VIRTCHILD.rbx_epc", "RBX is not in the EPC", pf_read(Operand::rbx), checks, vmx),
    unit("VIRTCHILD.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), checks, vmx),
    unit("VIRTCHILD.rbx_busy", "RBX is in use by another leaf", conflict,
         "Table/SgxConflicts.*/E*CVIRTCHILDpageexclusive", lock),
    unit("VIRTCHILD.rbx_valid", "RBX is not a valid page", pf_read(Operand::rbx), checks, vmx),
    unit("VIRTCHILD.rbx_type", "RBX has no SECS and is none", pf_read(Operand::rbx), checks, vmx),
    unit("VIRTCHILD.owner", "RCX is not the SECS of RBX", gp, checks, vmx),
};
constexpr Row counter_rows[] = {
    unit("VIRTCHILD.counter", "VIRTCHILDCNT is 0", zf(25), checks, vmx),
};
constexpr Row context_rows[] = {
    unit("ESETCONTEXT.rcx_aligned", "RCX is not a multiple of 4096", gp, checks, vmx),
    unit("ESETCONTEXT.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), checks, vmx),
    unit("ESETCONTEXT.rdx_aligned", "RDX is not a multiple of 8", gp, checks, vmx),
    unit("ESETCONTEXT.rcx_busy", "RCX is in use by another leaf", conflict,
         "Table/SgxConflicts.*/ESETCONTEXTSECSexclusive", lock),
    unit("ESETCONTEXT.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx), checks, vmx),
    unit("ESETCONTEXT.rcx_type", "RCX is not a SECS", pf_write(Operand::rcx), checks, vmx),
};

}  // namespace

const Table encls_table = table("ENCLS", prepare_encls, encls_rows);
const Table enclu_table = table("ENCLU", prepare_enclu, enclu_rows);
const Table enclv_table = table("ENCLV", prepare_enclv, enclv_rows);
const Table edecvirtchild_table = table("EDECVIRTCHILD", prepare_enclv, child_rows);
const Table edecvirtchild_counter_table = table("EDECVIRTCHILD", prepare_enclv, counter_rows);
const Table eincvirtchild_table = table("EINCVIRTCHILD", prepare_enclv, child_rows);
const Table esetcontext_table = table("ESETCONTEXT", prepare_enclv, context_rows);

}  // namespace sgx
