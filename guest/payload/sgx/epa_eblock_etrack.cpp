// ENCLS[EPA], [EBLOCK], [ETRACK], [ETRACKC] and [ERDINFO]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;
namespace f = arch::secinfo_flags;

constexpr Result with_zf(SgxError e) { return zf(static_cast<u64>(e)); }
constexpr Result with_cf(SgxError e) { return cf(static_cast<u64>(e)); }

void prepare_epa() { call_encls(arch::EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), epc_at(version_array(0))); }

constexpr Row epa_rows[] = {
    row("EPA.rbx", "RBX is not PT_VA", gp, [] { call.rbx = 2; }),
    row("EPA.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EPA.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), [] { call.rcx = alias_of(version_array(0)); }),
    unit("EPA.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/EPAofafreepage", lock),
    row("EPA.rcx_free", "RCX is a valid page", pf_write(Operand::rcx), [] { epa(version_array(0)); }),
    state(
        "EPA:made", "a version array, with empty slots", done,
        [] {
          // The page held something.
          launch();
          epa(version_array(1));
          call.rcx = epc_at(place_of(0, data_page));
          eremove(place_of(0, data_page));
        },
        [] {
          expect("info", look(place_of(0, data_page)).flags, 0x300);
          for (u64 slot = 0; slot < 512; slot += 73) expect("slot", peek(place_of(0, data_page), slot * 8), 0);
        },
        [] { memset(the_plan.data, 0xff, page_bytes); }),
};

void prepare_eblock() {
  launch();
  call_encls(arch::EnclsLeaf::eblock, 0, epc_at(place_of(0, data_page)));
}

constexpr Row eblock_rows[] = {
    row("EBLOCK.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EBLOCK.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    unit("EBLOCK.rcx_busy", "RCX is in use by another leaf", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/EBLOCKpageexclusive", lock),
    never("EBLOCK:entry_epoch", "the SECS is locked for an entry's epoch", with_zf(SgxError::entryepoch_locked),
          "entries hold no such lock, so that there is nothing to retry for"),
    alone(row("EBLOCK.rcx_valid", "RCX is not a valid page", with_zf(SgxError::pg_invld),
              [] { eremove(place_of(0, data_page)); })),
    row("EBLOCK.secs", "RCX is a SECS", with_cf(SgxError::pg_is_secs), [] { call.rcx = epc_at(secs_of(0)); }),
    row("EBLOCK.blockable", "RCX is a version array", with_cf(SgxError::notblockable),
        [] {
          epa(version_array(0));
          call.rcx = epc_at(version_array(0));
        }),
    row("EBLOCK.blocked", "the page is blocked", with_cf(SgxError::blkstate),
        [] {
          call.rcx = epc_at(place_of(0, data_page));
          block(place_of(0, data_page));
        }),
    state(
        "EBLOCK:blocked", "the page is blocked: the enclave cannot use it, until it has been away", ok, [] {},
        [] {
          expect("info", look(place_of(0, data_page)).flags >> 63, 1);
          call_inside(arch::EncluLeaf::ereport, in_enclave(data_page), in_enclave(data_page), in_enclave(output_page));
          execute();
          expect("use", ending.trap.vector, vec::pf);
        }),
    state(
        "EBLOCK:tcs", "a TCS can be blocked", ok, [] { call.rcx = epc_at(place_of(0, tcs_page)); },
        [] {
          expect("info", look(place_of(0, tcs_page)).flags >> 63, 1);
          expect("entry", enter_enclave().vector, vec::pf);
        }),
};

void prepare_etrack() {
  launch();
  call_encls(arch::EnclsLeaf::etrack, 0, epc_at(secs_of(0)));
}
/// A page blocked before the cycle can be evicted after it.
void expect_tracked() {
  bring_thread_out();
  operands.pageinfo = {.linaddr = 0, .srcpge = address(operands.image), .secinfo = address(&operands.pcmd), .secs = 0};
  epa(version_array(0));
  expect(
      "evicted",
      encls(arch::EnclsLeaf::ewb, address(&operands.pageinfo), epc_at(place_of(0, data_page)), epc_at(version_array(0)))
          .rax,
      0);
}

constexpr Row etrack_rows[] = {
    row("ETRACK.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("ETRACK.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), [] { call.rcx = alias_of(secs_of(0)); }),
    unit("ETRACK.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/ETRACKSECSexclusive", lock),
    unit("ETRACK.facility", "another leaf tracks the enclave", gp, "Table/SgxConflicts.*/ETRACKfacility", lock),
    row("ETRACK.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx),
        [] {
          ecreate(1);
          eremove(secs_of(1));
          call.rcx = epc_at(secs_of(1));
        }),
    row("ETRACK.rcx_type", "RCX is not a SECS", pf_write(Operand::rcx),
        [] { call.rcx = epc_at(place_of(0, data_page)); }),
    row("ETRACK.previous_cycle", "threads of the previous cycle are still inside", with_zf(SgxError::prev_trk_incmpl),
        [] { call.with_thread = [] { track(); }; }),
    unit("ETRACK:conflict_exits", "the same under EPC virtualization: SGX_CONFLICT exits", gp,
         "SgxTracking.AnIncompleteCycleExits", vmx),
    state(
        "ETRACK:cycle", "a new cycle: a page that was blocked is tracked", ok, [] { block(place_of(0, data_page)); },
        [] { expect_tracked(); }),
};

void prepare_etrackc() {
  launch();
  call_encls(arch::EnclsLeaf::etrackc, 0, epc_at(place_of(0, data_page)));
}

constexpr Row etrackc_rows[] = {
    row("ETRACKC.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("ETRACKC.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    unit("ETRACKC.rcx_busy", "RCX is in use by another leaf", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/ETRACKCpageexclusive", lock),
    alone(row("ETRACKC.rcx_valid", "RCX is not a valid page", with_zf(SgxError::pg_invld),
              [] { eremove(place_of(0, data_page)); })),
    row("ETRACKC.required", "RCX is a version array", with_cf(SgxError::track_not_required),
        [] {
          epa(version_array(0));
          call.rcx = epc_at(version_array(0));
        }),
    unit("ETRACKC.facility", "another leaf tracks the enclave", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/ETRACKCfacility", lock),
    row("ETRACK.previous_cycle", "threads of the previous cycle are still inside", with_zf(SgxError::prev_trk_incmpl),
        [] { call.with_thread = [] { track(); }; }),
    state(
        "ETRACKC:child", "a new cycle of the enclave that the page belongs to", ok,
        [] { block(place_of(0, data_page)); }, [] { expect_tracked(); }),
    state(
        "ETRACKC:secs", "or of the SECS itself", ok,
        [] {
          block(place_of(0, data_page));
          call.rcx = epc_at(secs_of(0));
        },
        [] { expect_tracked(); }),
};

void prepare_erdinfo() {
  launch();
  call_encls(arch::EnclsLeaf::erdinfo, address(&operands.rdinfo), epc_at(place_of(0, data_page)));
}

constexpr Row erdinfo_rows[] = {
    row("ERDINFO.rbx_aligned", "RBX is not a multiple of 32", gp, [] { call.rbx = address(operands.image) + 8; }),
    row("ERDINFO.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("ERDINFO.rcx_epc", "RCX is not in the EPC", with_cf(SgxError::pg_nonepc),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    unit("ERDINFO.rcx_busy", "RCX is in use by another leaf", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/ERDINFOpageexclusive", lock),
    alone(row("ERDINFO.rcx_valid", "RCX is not a valid page", with_cf(SgxError::pg_invld),
              [] { eremove(place_of(0, data_page)); })),
    state(
        "ERDINFO.page.children", "a SECS with children: CHILDPRESENT", ok, [] { call.rcx = epc_at(secs_of(0)); },
        [] {
          expect("status", operands.rdinfo.status, arch::rdinfo::child_present);
          expect("flags", operands.rdinfo.flags, 0);
        }),
    unit("ERDINFO.page.virtual_children", "a SECS with virtual children, under EPC virtualization", ok,
         "SgxPaging.ErdinfoTellsWhatThePageIs", vmx),
    state(
        "ERDINFO:secs", "a SECS without children", ok,
        [] {
          ecreate(1);
          call.rcx = epc_at(secs_of(1));
        },
        [] { expect("status", operands.rdinfo.status, 0); }),
    state(
        "ERDINFO:regular", "a regular page: its permissions, and its enclave's context", ok, [] {},
        [] {
          expect("flags", operands.rdinfo.flags, flags_of(data_page));
          expect("context", operands.rdinfo.enclavecontext, physical_of(in_enclave(0)) - page_bytes);
          expect("status", operands.rdinfo.status, 0);
        }),
    state(
        "ERDINFO:blocked", "a blocked page", ok, [] { block(place_of(0, data_page)); },
        [] { expect("flags", operands.rdinfo.flags, flags_of(data_page) | arch::rdinfo::blocked); }),
    state(
        "ERDINFO:pending", "a pending page", ok,
        [] {
          eaug(dynamic_page);
          call.rcx = epc_at(place_of(0, dynamic_page));
        },
        [] { expect("flags", operands.rdinfo.flags, type_reg | 3 | f::pending); }),
    state(
        "ERDINFO:modified", "a modified page", ok, [] { change_type(data_page, arch::PageType::trim); },
        [] { expect("flags", operands.rdinfo.flags, type_trim | f::modified); }),
    state(
        "ERDINFO:restricted", "a restricted page", ok, [] { restrict_rights(data_page, rights::r); },
        [] { expect("flags", operands.rdinfo.flags, type_reg | rights::r | f::pr); }),
    state(
        "ERDINFO:version_array", "a version array", ok,
        [] {
          epa(version_array(0));
          call.rcx = epc_at(version_array(0));
        },
        [] { expect("flags", operands.rdinfo.flags, 0x300); }),
};

}  // namespace

const Table epa_table = table("EPA", prepare_epa, epa_rows);
const Table eblock_table = table("EBLOCK", prepare_eblock, eblock_rows);
const Table etrack_table = table("ETRACK", prepare_etrack, etrack_rows);
const Table etrackc_table = table("ETRACKC", prepare_etrackc, etrackc_rows);
const Table erdinfo_table = table("ERDINFO", prepare_erdinfo, erdinfo_rows);

}  // namespace sgx
