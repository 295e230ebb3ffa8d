// ENCLS[EAUG], [EMODPR] and [EMODT]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;
namespace f = arch::secinfo_flags;

constexpr Result with_zf(SgxError e) { return zf(static_cast<u64>(e)); }
constexpr Result not_modifiable = with_zf(SgxError::page_not_modifiable);

void move_pageinfo() {
  memcpy(operands.source + 8, &operands.pageinfo, 32);
  call.rbx = address(operands.source) + 8;
}

void prepare_eaug() {
  launch();
  operands.pageinfo = {.linaddr = in_enclave(dynamic_page), .srcpge = 0, .secinfo = 0, .secs = epc_at(secs_of(0))};
  call_encls(arch::EnclsLeaf::eaug, address(&operands.pageinfo), epc_at(place_of(0, dynamic_page)));
}

constexpr Row eaug_rows[] = {
    row("EAUG.rbx_aligned", "RBX is not a multiple of 32", gp, [] { move_pageinfo(); }),
    row("EAUG.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EAUG.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, dynamic_page)); }),
    row("EAUG.secinfo_aligned", "SECINFO is not 0 and not a multiple of 64 (before SECS is looked at)", gp,
        [] {
          operands.pageinfo.secinfo = address(operands.image) + 8;
          operands.pageinfo.secs = alias_of(secs_of(0));
        }),
    row("EAUG.secs_aligned", "SECS is not a multiple of 4096", gp, [] { operands.pageinfo.secs += 8; }),
    row("EAUG.linaddr_aligned", "LINADDR is not a multiple of 4096", gp, [] { operands.pageinfo.linaddr += 8; }),
    row("EAUG.srcpge", "SRCPGE is not 0", gp, [] { operands.pageinfo.srcpge = address(operands.source); }),
    row("EAUG.secs_epc", "SECS is not in the EPC", pf_write(Operand::secs),
        [] { operands.pageinfo.secs = alias_of(secs_of(0)); }),
    unit("EAUG.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/EAUGpageshared", lock),
    row("EAUG.rcx_free", "RCX is a valid page", pf_write(Operand::rcx), [] { epa(place_of(0, dynamic_page)); }),
    row("EAUG.secinfo", "a SECINFO is given, which is for shadow stacks", gp,
        [] {
          operands.secinfo.flags = 0x503;
          operands.pageinfo.secinfo = address(&operands.secinfo);
        }),
    excluded("EAUG.ss", "a shadow stack's SECINFO, place and CR4.CET", gp, cet_ss),
    unit("EAUG.secs_busy", "the SECS is in use by another leaf", gp, "Table/SgxConflicts.*/EAUGSECSexclusive", lock),
    alone(row("EAUG.secs_valid", "the SECS is not valid", pf_write(Operand::secs),
              [] {
                launch(1);
                for (unsigned page = 0; page < added_pages; page++) eremove(place_of(1, page));
                eremove(secs_of(1));
                operands.pageinfo.secs = epc_at(secs_of(1));
              })),
    planned(
        "EAUG.secs_type", "the SECS is a page of another type", pf_write(Operand::secs),
        [] {
          // A page that looks like the SECS of an initialised enclave inside.
          memcpy(the_plan.data, &the_plan.secs, page_bytes);
          the_plan.data[48] |= arch::attributes::init;
        },
        [] { operands.pageinfo.secs = epc_at(place_of(0, data_page)); }),
    alone(row("EAUG.initialised", "the enclave is not initialised", gp,
              [] {
                ecreate(1);
                operands.pageinfo.secs = epc_at(secs_of(1));
              })),
    row("EAUG.elrange", "LINADDR is outside ELRANGE", gp,
        [] { operands.pageinfo.linaddr = enclave_base + enclave_bytes; }),
    row("EAUG.elrange/below", "LINADDR is below ELRANGE", gp,
        [] { operands.pageinfo.linaddr = enclave_base - page_bytes; }),
    state(
        "EAUG:pending", "a page of zeros, readable and writable, that the enclave cannot use yet", done, [] {},
        [] {
          expect("info", look(place_of(0, dynamic_page)).flags, type_reg | 3 | f::pending);
          accept(dynamic_page, type_reg | 3 | f::pending);
          expect("accepted", ending.rax, 0);
          expect("info_after", look(place_of(0, dynamic_page)).flags, type_reg | 3);
          for (u64 at = 0; at < page_bytes; at += 584) expect("zero", peek(place_of(0, dynamic_page), at), 0);
        }),
    state(
        "EAUG:child", "the SECS has one child more", done,
        [] {
          launch(1);
          for (unsigned page = 0; page < added_pages; page++) eremove(place_of(1, page));
          operands.pageinfo.secs = epc_at(secs_of(1));
        },
        [] { expect("status", look(secs_of(1)).status, arch::rdinfo::child_present); }),
};

void prepare_emodpr() {
  launch();
  operands.secinfo.flags = type_reg | rights::r;
  call_encls(arch::EnclsLeaf::emodpr, address(&operands.secinfo), epc_at(place_of(0, data_page)));
}
void move_secinfo() {
  memcpy(operands.source + 8, &operands.secinfo, 64);
  call.rbx = address(operands.source) + 8;
}
void to_pending() {
  eaug(dynamic_page);
  call.rcx = epc_at(place_of(0, dynamic_page));
}
/// A page of an enclave that is being built.
void to_unfinished() {
  build(1);
  call.rcx = epc_at(place_of(1, data_page));
}

constexpr Row emodpr_rows[] = {
    row("EMODPR.rbx_aligned", "RBX is not a multiple of 64", gp, [] { move_secinfo(); }),
    row("EMODPR.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EMODPR.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    row("EMODPR.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { operands.secinfo.flags |= 1 << 7; }),
    row("EMODPR.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp,
        [] { operands.secinfo.reserved[20] = 1; }),
    row("EMODPR.write_only", "SECINFO has W without R", gp, [] { operands.secinfo.flags = type_reg | rights::w; }),
    unit("EMODPR.rcx_busy", "RCX is in use by another leaf", gp, "Table/SgxConflicts.*/EMODPRpageexclusive", lock),
    alone(row("EMODPR.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx),
              [] { eremove(place_of(0, data_page)); })),
    unit("EMODPR.changing", "RCX is being changed by another leaf of SGX2", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/EMODPRpageinEACCEPT", lock),
    row("EMODPR.pending", "the page is pending", not_modifiable, [] { to_pending(); }),
    row("EMODPR.modified", "the page is modified", not_modifiable,
        [] {
          change_type(data_page, arch::PageType::tcs);
          call.rcx = epc_at(place_of(0, data_page));
        }),
    row("EMODPR.rcx_type", "the page is not PT_REG", pf_write(Operand::rcx),
        [] { call.rcx = epc_at(place_of(0, tcs_page)); }),
    row("EMODPR.initialised", "the enclave is not initialised", gp, [] { to_unfinished(); }),
    state(
        "EMODPR:restricted", "the page has fewer permissions, and waits for the enclave", ok, [] {},
        [] {
          expect("info", look(place_of(0, data_page)).flags, type_reg | rights::r | f::pr);
          accept(data_page, type_reg | rights::r | f::pr);
          expect("not_tracked", ending.rax, static_cast<u64>(SgxError::not_tracked));
          track();
          accept(data_page, type_reg | rights::r | f::pr);
          expect("accepted", ending.rax, 0);
          expect("info_after", look(place_of(0, data_page)).flags, type_reg | rights::r);
        }),
    state(
        "EMODPR:never_more", "permissions that the page does not have are not given", ok,
        [] {
          operands.secinfo.flags = type_reg | 7;
          call.rcx = epc_at(place_of(0, read_only_page));
        },
        [] { expect("info", look(place_of(0, read_only_page)).flags, type_reg | rights::r | f::pr); }),
};

void prepare_emodt() {
  launch();
  operands.secinfo.flags = type_trim;
  call_encls(arch::EnclsLeaf::emodt, address(&operands.secinfo), epc_at(place_of(0, data_page)));
}

constexpr Row emodt_rows[] = {
    row("EMODT.rbx_aligned", "RBX is not a multiple of 64", gp, [] { move_secinfo(); }),
    row("EMODT.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EMODT.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    row("EMODT.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { operands.secinfo.flags |= 1 << 7; }),
    row("EMODT.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp,
        [] { operands.secinfo.reserved[20] = 1; }),
    row("EMODT.page_type", "the new type is neither PT_TCS nor PT_TRIM", gp, [] { operands.secinfo.flags = type_reg; }),
    unit("EMODT.rcx_busy", "RCX is in use by another leaf", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/EMODTpageshared", lock),
    alone(row("EMODT.rcx_valid", "RCX is not a valid page", pf_write(Operand::rcx),
              [] { eremove(place_of(0, data_page)); })),
    unit("EMODT.changing", "RCX is being changed by another leaf of SGX2", with_zf(SgxError::epc_page_conflict),
         "Table/SgxConflicts.*/EMODTpageinEACCEPT", lock),
    row("EMODT.rcx_type", "the page is of a type that cannot become the new one", pf_write(Operand::rcx),
        [] {
          operands.secinfo.flags = type_tcs;
          call.rcx = epc_at(place_of(0, tcs_page));
        }),
    row("EMODT.rcx_type/secs", "the page is a SECS", pf_write(Operand::rcx), [] { call.rcx = epc_at(secs_of(0)); }),
    row("EMODT.pending", "the page is pending", not_modifiable, [] { to_pending(); }),
    row("EMODT.modified", "the page is modified", not_modifiable,
        [] {
          change_type(data_page, arch::PageType::tcs);
          call.rcx = epc_at(place_of(0, data_page));
        }),
    row("EMODT.initialised", "the enclave is not initialised", gp, [] { to_unfinished(); }),
    state(
        "EMODT:trimmed", "the page is trimmed, without permissions, and waits for the enclave", ok, [] {},
        [] { expect("info", look(place_of(0, data_page)).flags, type_trim | f::modified); }),
    state(
        "EMODT:tcs", "the page is a TCS", ok, [] { operands.secinfo.flags = type_tcs; },
        [] { expect("info", look(place_of(0, data_page)).flags, type_tcs | f::modified); }),
    state(
        "EMODT:tcs_trimmed", "a TCS is trimmed", ok, [] { call.rcx = epc_at(place_of(0, tcs_page)); },
        [] { expect("info", look(place_of(0, tcs_page)).flags, type_trim | f::modified); }),
    state(
        "EMODT:restricted", "a restriction is over", ok, [] { restrict_rights(data_page, rights::r); },
        [] { expect("info", look(place_of(0, data_page)).flags, type_trim | f::modified); }),
};

}  // namespace

const Table eaug_table = table("EAUG", prepare_eaug, eaug_rows);
const Table emodpr_table = table("EMODPR", prepare_emodpr, emodpr_rows);
const Table emodt_table = table("EMODT", prepare_emodt, emodt_rows);

}  // namespace sgx
