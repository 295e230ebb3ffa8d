// ENCLU[EACCEPT], [EMODPE] and [EACCEPTCOPY]: SDM vol. 3D, 38.4.
#include "operand_rows.hpp"
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;
namespace f = arch::secinfo_flags;

constexpr Result mismatch = zf(static_cast<u64>(SgxError::page_attributes_mismatch)),
                 not_tracked = zf(static_cast<u64>(SgxError::not_tracked));
constexpr u64 added = type_reg | 3 | f::pending;

/// The enclave's SECINFO, in its output page.
constexpr unsigned secinfo_page = output_page;
void put_secinfo(u64 flags) { poke(place_of(0, secinfo_page), 0, flags); }
void spoil_secinfo() { poke(place_of(0, secinfo_page), 56, 1); }
using Secinfo = OperandRows<&Call::rbx, secinfo_page>;
constexpr Result bad_rbx = pf_user_read(Operand::rbx), bad_rcx = pf_user_read(Operand::rcx),
                 bad_rdx = pf_user_read(Operand::rdx);
constexpr u64 beyond = enclave_base + enclave_bytes;

void leave_epc(unsigned page) { map_alias(in_enclave(page), place_of(0, page), pte::p | pte::w | pte::u); }
/// The address of the dynamic page leads to the same page of enclave 1.
void lend_dynamic_page() {
  launch(1);
  eaug(dynamic_page, 1);
  map_enclave_page(dynamic_page, place_of(1, dynamic_page));
}
void swap_dynamic_page() {
  eaug(dynamic_page + 1);
  map_enclave_page(dynamic_page, place_of(0, dynamic_page + 1));
}

// ---- EACCEPT of an added page

void prepare_eaccept() {
  launch();
  eaug(dynamic_page);
  put_secinfo(added);
  call_inside(arch::EncluLeaf::eaccept, in_enclave(secinfo_page), in_enclave(dynamic_page));
}
void trim(bool tracked) {
  change_type(data_page, arch::PageType::trim);
  if (tracked) track();
  put_secinfo(type_trim | f::modified);
  call.rcx = in_enclave(data_page);
}
/// A page becomes a TCS, which its content makes good or bad.
void become_tcs() {
  change_type(data_page, arch::PageType::tcs);
  track();
  put_secinfo(type_tcs | f::modified);
  call.rcx = in_enclave(data_page);
}
arch::Tcs& plan_tcs() {
  memcpy(the_plan.data, &the_plan.tcs, page_bytes);
  return *reinterpret_cast<arch::Tcs*>(the_plan.data);
}
constexpr Row tcs_row(const char* name, const char* condition, void (*plan)()) {
  return planned(name, condition, gp, plan, become_tcs);
}

constexpr Row eaccept_rows[] = {
    row("EACCEPT.rbx_aligned", "RBX is not a multiple of 64", gp,
        [] {
          poke(place_of(0, secinfo_page), 8, added);
          put_secinfo(0);
          call.rbx += 8;
        }),
    row("EACCEPT.rbx_elrange", "RBX is outside ELRANGE", gp, [] { call.rbx = beyond; }),
    row("EACCEPT.rbx_epc", "RBX is not in the EPC", bad_rbx, Secinfo::not_epc),
    OPERAND_PAGE_ROWS("EACCEPT.rbx", Secinfo, "RBX", bad_rbx, Secinfo::unreadable),
    row("EACCEPT.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { put_secinfo(added | 1 << 6); }),
    row("EACCEPT.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp, [] { spoil_secinfo(); }),
    row("EACCEPT.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 64; }),
    row("EACCEPT.rcx_elrange", "RCX is outside ELRANGE", gp, [] { call.rcx = beyond; }),
    row("EACCEPT.rcx_epc", "RCX is not in the EPC", bad_rcx, [] { leave_epc(dynamic_page); }),
    row("EACCEPT.combination", "a regular page neither pending nor restricted", gp, [] { put_secinfo(type_reg | 3); }),
    row("EACCEPT.combination/modified", "a regular page that is modified", gp,
        [] { put_secinfo(added | f::modified); }),
    row("EACCEPT.combination/tcs", "a TCS that is not modified", gp, [] { put_secinfo(type_tcs | f::pending); }),
    row("EACCEPT.combination/trim", "a trimmed page that is restricted", gp,
        [] { put_secinfo(type_trim | f::modified | f::pr); }),
    row("EACCEPT.combination/secs", "a SECS", gp, [] { put_secinfo(f::pending); }),
    excluded("EACCEPT.combination_ss", "a shadow stack that is not pending only", gp, cet_ss),
    alone(row("EACCEPT.rcx_valid", "RCX is not a valid page", bad_rcx, [] { eremove(place_of(0, dynamic_page)); })),
    alone(row("EACCEPT.rcx_blocked", "RCX is blocked", bad_rcx, [] { block(place_of(0, dynamic_page)); })),
    alone(row("EACCEPT.rcx_type", "RCX is a version array", bad_rcx,
              [] {
                epa(version_array(0));
                map_enclave_page(dynamic_page, version_array(0));
              })),
    alone(row("EACCEPT.rcx_owner", "RCX is another enclave's page", bad_rcx, [] { lend_dynamic_page(); })),
    unit("EACCEPT.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/EACCEPTpageexclusive", lock),
    unit("EACCEPT.changing", "RCX is being changed by another leaf of SGX2", gp,
         "Table/SgxConflicts.*/EACCEPTpageinEMODPE", lock),
    alone(row("EACCEPT.address", "the page is at another address", mismatch, [] { swap_dynamic_page(); })),
    alone(row("EACCEPT.pending", "the page is not pending, and SECINFO is", mismatch,
              [] { call.rcx = in_enclave(data_page); })),
    alone(row("EACCEPT.modified", "the page is not modified, and SECINFO is", mismatch,
              [] {
                trim(true);
                accept(data_page, type_trim | f::modified);
              })),
    alone(row("EACCEPT.rights", "the permissions differ", mismatch,
              [] { put_secinfo(type_reg | rights::r | f::pending); })),
    alone(row("EACCEPT.page_type", "the page types differ", mismatch,
              [] {
                trim(true);
                put_secinfo(type_tcs | f::modified);
              })),
    alone(row("EACCEPT.tracked", "no tracking cycle since the page was modified", not_tracked, [] { trim(false); })),
    alone(row("EACCEPT.tracked/restricted", "no tracking cycle since the page was restricted", not_tracked,
              [] {
                restrict_rights(data_page, rights::r);
                put_secinfo(type_reg | rights::r | f::pr);
                call.rcx = in_enclave(data_page);
              })),
    tcs_row("EACCEPT.tcs_reserved", "a new TCS's reserved bytes are not 0", [] { plan_tcs().reserved[0] = 1; }),
    tcs_row("EACCEPT.tcs_flags", "a new TCS's FLAGS have a reserved bit", [] { plan_tcs().flags = 4; }),
    tcs_row("EACCEPT.tcs_dbgoptin", "a new TCS is opted in", [] { plan_tcs().flags = 1; }),
    tcs_row("EACCEPT.tcs_cssa", "a new TCS's CSSA is not below NSSA", [] { plan_tcs().cssa = ssa_frames; }),
    tcs_row("EACCEPT.tcs_aep", "a new TCS's AEP is not 0", [] { plan_tcs().aep = 1; }),
    tcs_row("EACCEPT.tcs_state", "a new TCS is active", [] { plan_tcs().state = 1; }),
    unit("EACCEPT.tcs_fslimit", "a new TCS's FSLIMIT does not end in FFFH (32-bit)", gp,
         "SgxRows.AcceptedTcsHasWholePageLimits", "the enclave's code here is 64-bit"),
    unit("EACCEPT.tcs_gslimit", "a new TCS's GSLIMIT does not end in FFFH (32-bit)", gp,
         "SgxRows.AcceptedTcsHasWholePageLimits", "the enclave's code here is 64-bit"),
    excluded("EACCEPT.tcs_prevssp", "a new TCS's PREVSSP is not 0", gp, cet_ss),
    state(
        "EACCEPT:added", "an added page is the enclave's", ok, [] {},
        [] {
          expect("info", look(place_of(0, dynamic_page)).flags, type_reg | 3);
          expect("again_nothing_to_accept", (execute(), ending.rax),
                 static_cast<u64>(SgxError::page_attributes_mismatch));
        }),
    state(
        "EACCEPT:trimmed", "a trimmed page can be removed", ok, [] { trim(true); },
        [] { expect("info", look(place_of(0, data_page)).flags, type_trim); }),
    state(
        "EACCEPT:tcs", "a new TCS can be entered", ok, [] { become_tcs(); },
        [] {
          expect("info", look(place_of(0, data_page)).flags, type_tcs);
          call_enclu(arch::EncluLeaf::eenter, in_enclave(data_page), code_va + 3);
          execute();
          expect("entered", ending.trap.vector, vec::done);
        },
        [] { plan_tcs().oentry = come_out; }),
    state(
        "EACCEPT:restricted", "a restriction is over; PR is not compared", ok,
        [] {
          restrict_rights(data_page, rights::r);
          track();
          put_secinfo(type_reg | rights::r | f::pr);
          call.rcx = in_enclave(data_page);
        },
        [] { expect("info", look(place_of(0, data_page)).flags, type_reg | rights::r); }),
};

// ---- EMODPE of a page that may be read and written

void prepare_emodpe() {
  launch();
  put_secinfo(type_reg | rights::x);
  call_inside(arch::EncluLeaf::emodpe, in_enclave(secinfo_page), in_enclave(data_page));
}
using Target = OperandRows<&Call::rcx, data_page>;

constexpr Row emodpe_rows[] = {
    row("EMODPE.rbx_aligned", "RBX is not a multiple of 64", gp,
        [] {
          poke(place_of(0, secinfo_page), 8, type_reg);
          put_secinfo(0);
          call.rbx += 8;
        }),
    row("EMODPE.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 64; }),
    row("EMODPE.rbx_elrange", "RBX is outside ELRANGE", gp, [] { call.rbx = beyond; }),
    row("EMODPE.rcx_elrange", "RCX is outside ELRANGE", gp, [] { call.rcx = beyond; }),
    row("EMODPE.rbx_epc", "RBX is not in the EPC", bad_rbx, Secinfo::not_epc),
    row("EMODPE.rcx_epc", "RCX is not in the EPC", bad_rcx, Target::not_epc),
    OPERAND_PAGE_ROWS("EMODPE.rbx", Secinfo, "RBX", bad_rbx, Secinfo::unreadable),
    row("EMODPE.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { put_secinfo(type_reg | 1 << 6); }),
    row("EMODPE.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp, [] { spoil_secinfo(); }),
    alone(row("EMODPE.rcx.valid", "RCX is not a valid page", bad_rcx, Target::not_valid)),
    alone(row("EMODPE.rcx.blocked", "RCX is blocked", bad_rcx, Target::blocked)),
    alone(row("EMODPE.rcx.pending", "RCX is pending", bad_rcx, Target::pending)),
    unit("EMODPE.rcx.modified", "RCX is modified", bad_rcx, "SgxRows.ExtendedPageIsSettled",
         "modified pages are not PT_REG"),
    alone(row("EMODPE.rcx.type", "RCX is not PT_REG", bad_rcx, [] { call.rcx = in_enclave(second_tcs_page); })),
    alone(row("EMODPE.rcx.owner", "RCX is another enclave's page", bad_rcx, Target::another_enclaves)),
    alone(row("EMODPE.rcx.address", "RCX is a page of another address", bad_rcx, Target::elsewhere)),
    unit("EMODPE.changing", "RCX is being changed by another leaf of SGX2", gp,
         "Table/SgxConflicts.*/EMODPEpageinEMODPR", lock),
    row("EMODPE.write_only", "the page would be writable and not readable", gp,
        [] {
          put_secinfo(type_reg | rights::w);
          call.rcx = in_enclave(execute_only_page);
        }),
    state(
        "EMODPE:extended", "the page has the permissions too", done, [] {},
        [] { expect("info", look(place_of(0, data_page)).flags, type_reg | 7); }),
    state(
        "EMODPE:never_less", "and keeps those that it had", done, [] { put_secinfo(type_reg); },
        [] { expect("info", look(place_of(0, data_page)).flags, type_reg | 3); }),
};

// ---- EACCEPTCOPY to an added page from a page of the enclave

constexpr u64 content = 0x7766'5544'3322'1100;

void prepare_eacceptcopy() {
  memcpy(the_plan.data + 16, &content, 8);
  launch();
  eaug(dynamic_page);
  put_secinfo(type_reg | rights::r | rights::x);
  call_inside(arch::EncluLeaf::eacceptcopy, in_enclave(secinfo_page), in_enclave(dynamic_page), in_enclave(data_page));
}
using Source = OperandRows<&Call::rdx, data_page>;

constexpr Row eacceptcopy_rows[] = {
    row("EACCEPTCOPY.rbx_aligned", "RBX is not a multiple of 64", gp,
        [] {
          poke(place_of(0, secinfo_page), 8, type_reg | rights::r);
          put_secinfo(0);
          call.rbx += 8;
        }),
    row("EACCEPTCOPY.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 64; }),
    row("EACCEPTCOPY.rdx_aligned", "RDX is not a multiple of 4096", gp, [] { call.rdx += 64; }),
    row("EACCEPTCOPY.rbx_elrange", "RBX is outside ELRANGE", gp, [] { call.rbx = beyond; }),
    row("EACCEPTCOPY.rcx_elrange", "RCX is outside ELRANGE", gp, [] { call.rcx = beyond; }),
    row("EACCEPTCOPY.rdx_elrange", "RDX is outside ELRANGE", gp, [] { call.rdx = beyond; }),
    row("EACCEPTCOPY.rbx_epc", "RBX is not in the EPC", bad_rbx, Secinfo::not_epc),
    row("EACCEPTCOPY.rcx_epc", "RCX is not in the EPC", pf_user_write(Operand::rcx), [] { leave_epc(dynamic_page); }),
    row("EACCEPTCOPY.rdx_epc", "RDX is not in the EPC", bad_rdx, Source::not_epc),
    OPERAND_PAGE_ROWS("EACCEPTCOPY.rbx", Secinfo, "RBX", bad_rbx, Secinfo::unreadable),
    row("EACCEPTCOPY.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp,
        [] { put_secinfo(type_reg | rights::r | 1 << 6); }),
    row("EACCEPTCOPY.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp, [] { spoil_secinfo(); }),
    row("EACCEPTCOPY.write_only", "SECINFO has W without R", gp, [] { put_secinfo(type_reg | rights::w); }),
    row("EACCEPTCOPY.page_type", "SECINFO's page type is not PT_REG", gp, [] { put_secinfo(type_tcs | rights::r); }),
    OPERAND_PAGE_ROWS("EACCEPTCOPY.rdx", Source, "RDX", bad_rdx, Source::unreadable),
    row("EACCEPTCOPY.rcx_valid", "RCX is not a valid page", mismatch, [] { eremove(place_of(0, dynamic_page)); }),
    row("EACCEPTCOPY.rcx_pending", "RCX is not pending", mismatch, [] { call.rcx = in_enclave(second_ssa_page); }),
    unit("EACCEPTCOPY.rcx_modified", "RCX is modified", mismatch, "SgxRows.CopiedPageIsAsEaugMadeIt", unreachable),
    row("EACCEPTCOPY.rcx_blocked", "RCX is blocked", mismatch, [] { block(place_of(0, dynamic_page)); }),
    unit("EACCEPTCOPY.rcx_type", "RCX is not PT_REG", mismatch, "SgxRows.CopiedPageIsAsEaugMadeIt", unreachable),
    row("EACCEPTCOPY.rcx_owner", "RCX is another enclave's page", mismatch, [] { lend_dynamic_page(); }),
    unit("EACCEPTCOPY.changing", "RCX is being changed by another leaf of SGX2", gp,
         "Table/SgxConflicts.*/EACCEPTCOPYpageinEACCEPT", lock),
    unit("EACCEPTCOPY.rcx_rights", "RCX is not readable and writable only", mismatch,
         "SgxRows.CopiedPageIsAsEaugMadeIt", unreachable),
    row("EACCEPTCOPY.rcx_address", "RCX is a page of another address", mismatch, [] { swap_dynamic_page(); }),
    state(
        "EACCEPTCOPY:copied", "the page has the content and the permissions asked for", ok, [] {},
        [] {
          expect("info", look(place_of(0, dynamic_page)).flags, type_reg | rights::r | rights::x);
          expect("content", peek(place_of(0, dynamic_page), 16), content);
        }),
};

}  // namespace

const Table eaccept_table = table("EACCEPT", prepare_eaccept, eaccept_rows);
const Table emodpe_table = table("EMODPE", prepare_emodpe, emodpe_rows);
const Table eacceptcopy_table = table("EACCEPTCOPY", prepare_eacceptcopy, eacceptcopy_rows);

}  // namespace sgx
