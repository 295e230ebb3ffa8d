// ENCLS[EADD] and ENCLS[EEXTEND]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

arch::Tcs& tcs() { return *reinterpret_cast<arch::Tcs*>(operands.source); }
constexpr unsigned page = dynamic_page;

/// A new regular page for an enclave that is being built.
void prepare_eadd() {
  build();
  operands.secinfo.flags = type_reg | rights::r | rights::w;
  operands.source[0] = 0x5a;
  operands.pageinfo = {.linaddr = in_enclave(page),
                       .srcpge = address(operands.source),
                       .secinfo = address(&operands.secinfo),
                       .secs = epc_at(secs_of(0))};
  call_encls(arch::EnclsLeaf::eadd, address(&operands.pageinfo), epc_at(place_of(0, page)));
}
void make_tcs() {
  tcs() = the_plan.tcs;
  operands.secinfo.flags = type_tcs;
}
void plan_32() { the_plan.secs.attributes.flags &= ~arch::attributes::mode64bit; }

constexpr Row eadd_rows[] = {
    row("EADD.rbx_aligned", "RBX is not a multiple of 32", gp,
        [] {
          memcpy(operands.image + 8, &operands.pageinfo, 32);
          call.rbx = address(operands.image) + 8;
        }),
    row("EADD.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 64; }),
    row("EADD.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, page)); }),
    row("EADD.srcpge_aligned", "SRCPGE is not a multiple of 4096", gp, [] { operands.pageinfo.srcpge += 64; }),
    row("EADD.secs_aligned", "SECS is not a multiple of 4096", gp, [] { operands.pageinfo.secs += 64; }),
    row("EADD.secinfo_aligned", "SECINFO is not a multiple of 64", gp,
        [] {
          memcpy(operands.image + 8, &operands.secinfo, 64);
          operands.pageinfo.secinfo = address(operands.image) + 8;
        }),
    row("EADD.linaddr_aligned", "LINADDR is not a multiple of 4096", gp, [] { operands.pageinfo.linaddr += 64; }),
    row("EADD.secs_epc", "SECS is not in the EPC", pf_write(Operand::secs),
        [] { operands.pageinfo.secs = alias_of(secs_of(0)); }),
    row("EADD.secinfo_reserved", "SECINFO.FLAGS has a reserved bit", gp, [] { operands.secinfo.flags |= 1 << 6; }),
    row("EADD.secinfo_reserved/bytes", "SECINFO's reserved bytes are not 0", gp,
        [] { operands.secinfo.reserved[0] = 1; }),
    row("EADD.page_type", "the page type is none that can be added", gp, [] { operands.secinfo.flags = 0x303; }),
    excluded("EADD.ss_cr4", "a shadow stack with CR4.CET = 0", gp, cet_ss),
    unit("EADD.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.EaddMeetsAHeldPage", lock),
    row("EADD.rcx_free", "RCX is a valid page", pf_write(Operand::rcx), [] { epa(place_of(0, page)); }),
    unit("EADD.secs_busy", "the SECS is in use by another leaf", gp, "SgxRows.EaddMeetsAHeldSecs", lock),
    row("EADD.secs_valid", "the SECS is not valid", pf_write(Operand::secs),
        [] {
          // What is left of it still says PT_SECS.
          ecreate(1);
          eremove(secs_of(1));
          operands.pageinfo.secs = epc_at(secs_of(1));
        }),
    row("EADD.secs_type", "the SECS is a page of another type", pf_write(Operand::secs),
        [] {
          // A page that looks like one inside.
          memcpy(operands.image, &the_plan.secs, page_bytes);
          eadd(0, dynamic_page + 1, operands.image);
          operands.pageinfo.secs = epc_at(place_of(0, dynamic_page + 1));
        }),
    row("EADD.tcs_reserved", "a TCS's reserved bytes are not 0", gp,
        [] {
          make_tcs();
          tcs().reserved[4023] = 1;
        }),
    planned("EADD.tcs_fslimit", "a TCS's FSLIMIT does not end in FFFH (32-bit)", gp, plan_32,
            [] {
              make_tcs();
              tcs().fslimit = 0x1000;
            }),
    planned("EADD.tcs_gslimit", "a TCS's GSLIMIT does not end in FFFH (32-bit)", gp, plan_32,
            [] {
              make_tcs();
              tcs().gslimit = 0xffe;
            }),
    excluded("EADD.tcs_prevssp", "a TCS's PREVSSP is not 0", gp, cet_ss),
    row("EADD.write_only", "a regular page is writable and not readable", gp,
        [] { operands.secinfo.flags = type_reg | rights::w; }),
    excluded("EADD.ss", "a shadow stack's place, token, zeros and permissions", gp, cet_ss),
    row("EADD.elrange", "LINADDR is outside ELRANGE", gp,
        [] { operands.pageinfo.linaddr = enclave_base + enclave_bytes; }),
    row("EADD.elrange/below", "LINADDR is below ELRANGE", gp,
        [] { operands.pageinfo.linaddr = enclave_base - page_bytes; }),
    unit("EADD.measuring", "another leaf updates the measurement", gp, "SgxRows.EaddMeetsAMeasurement", lock),
    row("EADD.initialised", "the enclave is initialised", gp, [] { initialise(); }),
    state(
        "EADD:regular", "a page of the enclave with the permissions of SECINFO", done, [] {},
        [] {
          const arch::Rdinfo info = look(place_of(0, page));
          expect("info", info.flags, type_reg | rights::r | rights::w);
          expect("context", info.enclavecontext, look(place_of(0, code_page)).enclavecontext);
          expect("content", peek(place_of(0, page), 0), 0x5a);
          // It is measured: the signature is for the enclave without it.
          expect("launch", einit(0, plain).rax, static_cast<u64>(arch::SgxError::invalid_measurement));
        }),
    state(
        "EADD:tcs", "a TCS has no permissions, and starts inactive and opted out", done,
        [] {
          make_tcs();
          operands.secinfo.flags = type_tcs | rights::r | rights::w | rights::x;
          tcs().state = 1;
          tcs().flags = 3;
          tcs().cssa = 2;
          tcs().aep = 0x1234;
        },
        [] {
          expect("info", look(place_of(0, page)).flags, type_tcs);
          expect("state", peek(place_of(0, page), 0), 0);
          expect("flags", peek(place_of(0, page), 8), 2);
          expect("cssa", static_cast<u32>(peek(place_of(0, page), 24)), 0);
          expect("aep", peek(place_of(0, page), 40), 0);
        }),
    state(
        "EADD:child", "the SECS has one child more", done,
        [] { ecreate(1), operands.pageinfo.secs = epc_at(secs_of(1)); },
        [] { expect("status", look(secs_of(1)).status, arch::rdinfo::child_present); }),
};

/// The first bytes of a page of an enclave that is being built.
void prepare_eextend() {
  build();
  call_encls(arch::EnclsLeaf::eextend, epc_at(secs_of(0)), epc_at(place_of(0, data_page)));
}

constexpr Row eextend_rows[] = {
    row("EEXTEND.rbx_aligned", "RBX is not a multiple of 4096", gp, [] { call.rbx += 8; }),
    row("EEXTEND.rbx_epc", "RBX is not in the EPC", pf_write(Operand::rbx), [] { call.rbx = alias_of(secs_of(0)); }),
    row("EEXTEND.rcx_aligned", "RCX is not a multiple of 256", gp, [] { call.rcx += 128; }),
    row("EEXTEND.rcx_epc", "RCX is not in the EPC", pf_read(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, data_page)); }),
    unit("EEXTEND.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.EextendMeetsAHeldPage", lock),
    row("EEXTEND.rcx_valid", "RCX is not a valid page", pf_read(Operand::rcx), [] { eremove(place_of(0, data_page)); }),
    row("EEXTEND.rcx_type", "RCX is a page of another type", pf_read(Operand::rcx),
        [] { call.rcx = epc_at(secs_of(0)); }),
    row("EEXTEND.owner", "RBX is not the SECS of RCX", gp, [] { ecreate(1), call.rbx = epc_at(secs_of(1)); }),
    unit("EEXTEND.measuring", "another leaf updates the measurement", gp, "SgxRows.EextendMeetsAMeasurement", lock),
    row("EEXTEND.initialised", "the enclave is initialised", gp, [] { initialise(); }),
    state(
        "EEXTEND:measured", "the 256 bytes are part of the measurement", done, [] {},
        [] {
          set_launch_signer();
          expect("launch", einit(0, plain).rax, static_cast<u64>(arch::SgxError::invalid_measurement));
          fresh();
          build();
          set_launch_signer();
          expect("launch_without", einit(0, plain).rax, 0);
        }),
};

}  // namespace

const Table eadd_table = table("EADD", prepare_eadd, eadd_rows);
const Table eextend_table = table("EEXTEND", prepare_eextend, eextend_rows);

}  // namespace sgx
