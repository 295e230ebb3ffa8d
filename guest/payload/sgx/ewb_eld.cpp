// ENCLS[EWB], and [ELDB], [ELDU], [ELDBC], [ELDUC]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;
namespace f = arch::secinfo_flags;

constexpr Result with_zf(SgxError e) { return zf(static_cast<u64>(e)); }
constexpr Result with_cf(SgxError e) { return cf(static_cast<u64>(e)); }
constexpr u64 slot = 3, content = 0x1234'5678'9abc'def0;

void move_pageinfo() {
  memcpy(operands.source + 8, &operands.pageinfo, 32);
  call.rbx = address(operands.source) + 8;
}
u64 slot_at(unsigned array) { return epc_at(version_array(array)) + slot * 8; }

/// A page that is blocked and tracked, and an empty slot.
void prepare_ewb() {
  memcpy(the_plan.data, &content, 8);
  launch();
  epa(version_array(0));
  block(place_of(0, data_page));
  track();
  operands.pageinfo = {.linaddr = 0, .srcpge = address(operands.image), .secinfo = address(&operands.pcmd), .secs = 0};
  call_encls(arch::EnclsLeaf::ewb, address(&operands.pageinfo), epc_at(place_of(0, data_page)), slot_at(0));
}
void expect_away(unsigned place) {
  expect("status", look(place).status, invalid);
  expect("slot", peek(version_array(0), slot * 8), ~0ul);
}
void remove_children() {
  for (unsigned page = 0; page < added_pages; page++) eremove(place_of(0, page));
}

constexpr Row ewb_rows[] = {
    row("EWB.rbx_aligned", "RBX is not a multiple of 32", gp, [] { move_pageinfo(); }),
    row("EWB.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EWB.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    row("EWB.rdx_aligned", "RDX is not a multiple of 8", gp, [] { call.rdx += 4; }),
    row("EWB.rdx_epc", "RDX is not in the EPC", pf_write(Operand::rdx),
        [] { call.rdx = alias_of(version_array(0)) + slot * 8; }),
    row("EWB.same_page", "RCX and RDX are in the same page (before PAGEINFO is read)", gp,
        [] {
          call.rcx = epc_at(version_array(0));
          call.rbx = window_va + (2 << 28);  // not mapped
        }),
    row("EWB.linaddr", "LINADDR is not 0", gp, [] { operands.pageinfo.linaddr = page_bytes; }),
    row("EWB.secs", "PAGEINFO.SECS is not 0", gp, [] { operands.pageinfo.secs = epc_at(secs_of(0)); }),
    row("EWB.pcmd_aligned", "PCMD is not a multiple of 128", gp,
        [] { operands.pageinfo.secinfo = address(operands.source) + 64; }),
    row("EWB.srcpge_aligned", "SRCPGE is not a multiple of 4096", gp,
        [] { operands.pageinfo.srcpge = address(operands.source) + 64; }),
    unit("EWB.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/EWBpageshared", lock),
    unit("EWB.va_busy", "the version array is in use by another leaf", gp, "Table/SgxConflicts.*/EWBVAexclusive", lock),
    unit("EWB.va_slots", "another EWB uses the version array", gp, "Table/SgxConflicts.*/EWBVAsslots", lock),
    row("EWB.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx), [] { eremove(place_of(0, data_page)); }),
    row("EWB.va_valid", "the version array is not a valid page", pf_write(Operand::rdx),
        [] { eremove(version_array(0)); }),
    row("EWB.va_type", "RDX is not in a version array", pf_write(Operand::rdx),
        [] { call.rdx = epc_at(place_of(0, read_only_page)) + slot * 8; }),
    alone(row("EWB.blocked", "the page is not blocked", with_zf(SgxError::page_not_blocked),
              [] {
                call.rcx = epc_at(place_of(0, output_page));
                track();
              })),
    alone(row("EWB.tracked", "no tracking cycle since the page was blocked", with_zf(SgxError::not_tracked),
              [] {
                block(place_of(0, output_page));
                call.rcx = epc_at(place_of(0, output_page));
              })),
    row("EWB.tracked/thread", "a thread is inside that entered before the cycle", with_zf(SgxError::not_tracked),
        [] {
          block(place_of(0, output_page));
          call.with_thread = [] { track(); };
          call.rcx = epc_at(place_of(0, output_page));
        }),
    alone(row("EWB.page.children", "a SECS has children", with_zf(SgxError::child_present),
              [] { call.rcx = epc_at(secs_of(0)); })),
    unit("EWB.page.virtual_children", "a SECS has virtual children, under EPC virtualization",
         with_zf(SgxError::child_present), "SgxPaging.VirtualChildrenKeepASecs", vmx),
    state(
        "EWB.slot_empty", "the slot is in use: the page leaves nevertheless, and the slot is overwritten",
        with_cf(SgxError::va_slot_occupied),
        [] {
          block(place_of(0, output_page));
          track();
          track();
          encls(arch::EnclsLeaf::ewb, address(&operands.pageinfo), epc_at(place_of(0, output_page)), call.rdx);
          operands.pageinfo.linaddr = 0;
        },
        [] { expect_away(place_of(0, data_page)); }),
    state(
        "EWB:child", "the page is away, encrypted; PCMD and PAGEINFO say what it was", ok, [] {},
        [] {
          expect_away(place_of(0, data_page));
          expect("pcmd", operands.pcmd.secinfo.flags, flags_of(data_page));
          expect("linaddr", operands.pageinfo.linaddr, in_enclave(data_page));
          expect("enclaveid_known", operands.pcmd.enclaveid != 0, 1);
          u64 word;
          memcpy(&word, operands.image, 8);
          expect("encrypted", word != content, 1);
        }),
    state(
        "EWB:secs", "a SECS without children", ok,
        [] {
          remove_children();
          call.rcx = epc_at(secs_of(0));
        },
        [] {
          expect_away(secs_of(0));
          expect("pcmd", operands.pcmd.secinfo.flags, 0);
          expect("linaddr", operands.pageinfo.linaddr, 0);
        }),
    state(
        "EWB:version_array", "a version array", ok,
        [] {
          epa(version_array(1));
          call.rcx = epc_at(version_array(1));
        },
        [] {
          expect_away(version_array(1));
          expect("pcmd", operands.pcmd.secinfo.flags, 0x300);
          expect("enclaveid", operands.pcmd.enclaveid, 0);
        }),
};

/// The page is away, and comes back to a place of its own.
void prepare_load(arch::EnclsLeaf leaf) {
  memcpy(the_plan.data, &content, 8);
  launch();
  epa(version_array(0));
  evict(place_of(0, data_page), slot);
  operands.pageinfo = {.linaddr = in_enclave(data_page),
                       .srcpge = address(operands.image),
                       .secinfo = address(&operands.pcmd),
                       .secs = epc_at(secs_of(0))};
  call_encls(leaf, address(&operands.pageinfo), epc_at(spare(0)), slot_at(0));
}
void prepare_eldb() { prepare_load(arch::EnclsLeaf::eldb); }
void prepare_eldu() { prepare_load(arch::EnclsLeaf::eldu); }
void prepare_eldbc() { prepare_load(arch::EnclsLeaf::eldbc); }
void prepare_elduc() { prepare_load(arch::EnclsLeaf::elduc); }

bool blocks() {
  return call.leaf == static_cast<u64>(arch::EnclsLeaf::eldb) || call.leaf == static_cast<u64>(arch::EnclsLeaf::eldbc);
}
/// A version array is away, in the same slot.
void use_version_array() {
  eremove(version_array(0));
  epa(version_array(0));
  epa(version_array(1));
  evict(version_array(1), slot);
  operands.pageinfo.linaddr = operands.pageinfo.secs = 0;
}
void use_secs() {
  eremove(version_array(0));
  epa(version_array(0));
  remove_children();
  evict(secs_of(0), slot);
  operands.pageinfo.linaddr = operands.pageinfo.secs = 0;
}

constexpr Result mac_fails = with_zf(SgxError::mac_compare_fail);

constexpr Row load_rows(bool codes, unsigned i) {
  const Result conflict = codes ? with_zf(SgxError::epc_page_conflict) : gp;
  const Row rows[] = {
      row("ELD.rbx_aligned", "RBX is not a multiple of 32", gp, [] { move_pageinfo(); }),
      row("ELD.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
      row("ELD.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx), [] { call.rcx = alias_of(spare(0)); }),
      row("ELD.rdx_aligned", "RDX is not a multiple of 8", gp, [] { call.rdx += 4; }),
      row("ELD.rdx_epc", "RDX is not in the EPC", pf_write(Operand::rdx),
          [] { call.rdx = alias_of(version_array(0)) + slot * 8; }),
      row("ELD.pcmd_aligned", "PCMD is not a multiple of 128", gp,
          [] {
            memcpy(operands.source + 64, &operands.pcmd, 128);
            operands.pageinfo.secinfo = address(operands.source) + 64;
          }),
      row("ELD.srcpge_aligned", "SRCPGE is not a multiple of 4096", gp, [] { operands.pageinfo.srcpge += 64; }),
      unit("ELD.rcx_busy", "RCX is in use by another leaf", conflict,
           codes ? "Table/SgxConflicts.AsTheTableSays/ELD*Cpageshared" : "Table/SgxConflicts.*/ELDUpageshared", lock),
      unit("ELD.va_busy", "the version array is in use by another leaf", conflict,
           codes ? "Table/SgxConflicts.*/ELDUCVAexclusive" : "Table/SgxConflicts.*/ELDUVAexclusive", lock),
      row("ELD.rcx_free", "RCX is a valid page", pf_write(Operand::rcx), [] { epa(spare(0)); }),
      row("ELD.va_valid", "the version array is not a valid page", pf_write(Operand::rdx),
          [] { eremove(version_array(0)); }),
      row("ELD.va_type", "RDX is not in a version array", pf_write(Operand::rdx),
          [] { call.rdx = epc_at(place_of(0, output_page)) + slot * 8; }),
      row("ELD.secs_aligned", "SECS is not a multiple of 4096", gp, [] { operands.pageinfo.secs += 8; }),
      alone(row("ELD.secs_epc", "SECS is not in the EPC", pf_write(Operand::secs),
                [] { operands.pageinfo.secs = alias_of(secs_of(0)); })),
      unit("ELD.secs_busy", "the SECS is in use by another leaf", conflict,
           codes ? "Table/SgxConflicts.*/ELDBCSECSexclusive" : "Table/SgxConflicts.*/ELDUSECSexclusive", lock),
      alone(row("ELD.secs_valid", "the SECS is not a valid page", pf_write(Operand::secs),
                [] {
                  remove_children();
                  eremove(secs_of(0));
                })),
      alone(row("ELD.secs_type", "the SECS is a page of another type", pf_write(Operand::secs),
                [] { operands.pageinfo.secs = epc_at(place_of(0, output_page)); })),
      alone(row("ELD.secs_zero", "PAGEINFO.SECS is not 0, and the page has none", gp,
                [] {
                  use_version_array();
                  operands.pageinfo.secs = epc_at(secs_of(0));
                })),
      row("ELD.mac", "a bit of the page is not what it was", mac_fails, [] { operands.image[77] ^= 1; }),
      row("ELD.mac/address", "LINADDR is not what it was", mac_fails, [] { operands.pageinfo.linaddr += page_bytes; }),
      row("ELD.mac/flags", "PCMD.SECINFO is not what it was", mac_fails,
          [] { operands.pcmd.secinfo.flags |= rights::x; }),
      row("ELD.mac/slot", "the version is in another slot", mac_fails, [] { call.rdx += 8; }),
      row("ELD.mac/enclave", "the SECS is another enclave's", mac_fails,
          [] {
            launch(1);
            operands.pageinfo.secs = epc_at(secs_of(1));
          }),
      state(
          "ELD:child", "the page is back, for its enclave, and the slot empty", ok, [] {},
          [] {
            const u64 blocked = blocks() ? arch::rdinfo::blocked : 0;
            expect("info", look(spare(0)).flags, flags_of(data_page) | blocked);
            expect("content", peek(spare(0), 0), content);
            expect("slot", peek(version_array(0), slot * 8), 0);
            map_enclave_page(data_page, spare(0));
            const u64 leaf = call.leaf;
            call_inside(arch::EncluLeaf::ereport, in_enclave(output_page), in_enclave(data_page),
                        in_enclave(output_page) + 0x400);
            execute();
            expect("use", ending.trap.vector, blocked ? vec::pf : vec::done);
            call.leaf = leaf;
          }),
      state(
          "ELD:replay", "an image comes back only once", mac_fails,
          [] { encls(arch::EnclsLeaf::eldu, call.rbx, epc_at(spare(1)), call.rdx); },
          [] { expect("status", look(spare(0)).status, invalid); }),
      state(
          "ELD:secs", "a SECS is back; never blocked; known by its new address", ok, [] { use_secs(); },
          [] {
            expect("info", look(spare(0)).flags, 0);
            expect("status", look(spare(0)).status, 0);
          }),
      state(
          "ELD:version_array", "a version array is back; never blocked", ok, [] { use_version_array(); },
          [] { expect("info", look(spare(0)).flags, 0x300); }),
  };
  return rows[i];
}
constexpr unsigned load_count = 27;

struct LoadRows {
  Row rows[load_count];
  constexpr explicit LoadRows(bool codes) : rows{} {
    for (unsigned i = 0; i < load_count; i++) rows[i] = load_rows(codes, i);
  }
};
constexpr LoadRows faulting(false), coding(true);

}  // namespace

const Table ewb_table = table("EWB", prepare_ewb, ewb_rows);
const Table eldb_table = table("ELDB", prepare_eldb, faulting.rows);
const Table eldu_table = table("ELDU", prepare_eldu, faulting.rows);
const Table eldbc_table = table("ELDBC", prepare_eldbc, coding.rows);
const Table elduc_table = table("ELDUC", prepare_elduc, coding.rows);

}  // namespace sgx
