// ENCLS[EREMOVE]: SDM vol. 3D, 38.3.
#include "tables.hpp"

namespace sgx {

namespace {

constexpr unsigned page = data_page;

void prepare() {
  launch();
  call_encls(arch::EnclsLeaf::eremove, 0, epc_at(place_of(0, page)));
}
void expect_gone() { expect("status", look(place_of(0, page)).status, invalid); }
constexpr Result child_present = zf(static_cast<u64>(arch::SgxError::child_present));

constexpr Row rows[] = {
    row("EREMOVE.rcx_aligned", "RCX is not a multiple of 4096", gp, [] { call.rcx += 8; }),
    row("EREMOVE.rcx_epc", "RCX is not in the EPC", pf_write(Operand::rcx),
        [] { call.rcx = alias_of(place_of(0, page)); }),
    unit("EREMOVE.rcx_busy", "RCX is in use by another leaf", gp, "SgxRows.EremoveMeetsAHeldPage", lock),
    row("EREMOVE.children", "a SECS has children", child_present, [] { call.rcx = epc_at(secs_of(0)); }),
    unit("EREMOVE.virtual_children", "a SECS has virtual children, under EPC virtualization", child_present,
         "SgxBuild.VirtualChildrenKeepASecsUnderEpcVirtualization", vmx),
    row("EREMOVE.threads", "threads are in the enclave", zf(static_cast<u64>(arch::SgxError::enclave_act)),
        [] { call.with_thread = [] {}; }),
    row("EREMOVE.threads/trimmed", "threads are in the enclave, and the trimmed page is not accepted",
        zf(static_cast<u64>(arch::SgxError::enclave_act)),
        [] {
          call.with_thread = [] {};
          change_type(page, arch::PageType::trim);
        }),
    state(
        "EREMOVE:child", "the page is free, and its SECS has a child less", ok, [] {},
        [] {
          expect_gone();
          for (unsigned i = 0; i < added_pages; i++) eremove(place_of(0, i));
          expect("children", look(secs_of(0)).status, 0);
        }),
    state(
        "EREMOVE:secs", "a SECS without children is freed", ok,
        [] {
          ecreate(1);
          call.rcx = epc_at(secs_of(1));
        },
        [] { expect("status", look(secs_of(1)).status, invalid); }),
    state(
        "EREMOVE:free", "a page that is not valid: nothing to do", ok, [] { eremove(place_of(0, page)); },
        [] { expect_gone(); }),
    state(
        "EREMOVE:version_array", "a version array is freed", ok,
        [] {
          epa(version_array(0));
          call.rcx = epc_at(version_array(0));
        },
        [] { expect("status", look(version_array(0)).status, invalid); }),
    state(
        "EREMOVE:trimmed", "a trimmed page that was accepted, while threads are in the enclave", ok,
        [] {
          change_type(page, arch::PageType::trim);
          track();
          accept(page, type_trim | arch::secinfo_flags::modified);
          call.with_thread = [] {};
        },
        [] {
          expect_gone();
          bring_thread_out();
        }),
};

}  // namespace

const Table eremove_table = table("EREMOVE", prepare, rows);

}  // namespace sgx
