// ENCLS[EUPDATESVN]: Intel 648682, "Runtime Microcode Updates with Intel Software Guard Extensions".
#include "tables.hpp"

namespace sgx {

namespace {

using arch::SgxError;

constexpr Result with_zf(SgxError e) { return zf(static_cast<u64>(e)); }

void prepare() { call_encls(arch::EnclsLeaf::eupdatesvn, 0, 0); }

constexpr Row rows[] = {
    unit("ENCLS.package_busy", "another leaf runs in the package", with_zf(SgxError::epc_page_conflict),
         "SgxFront.EupdatesvnIsAlone", package),
    row("EUPDATESVN.epc_ready", "a page of the EPC is valid", with_zf(SgxError::epc_not_ready),
        [] { epa(version_array(0)); }),
    never("EUPDATESVN:entropy", "RDSEED has no number", with_zf(SgxError::insufficient_entropy),
          "there are always random numbers"),
    unit("EUPDATESVN:updated", "CPUSVN becomes that of the microcode that runs", ok, "SgxUpdate.RaisesCpusvnOnce",
         "a guest's update of microcode changes nothing"),
    state(
        "EUPDATESVN:no_update", "the same microcode as before: new keys for pages, no other CPUSVN",
        cf(static_cast<u64>(SgxError::no_update)), [] {},
        [] {
          launch();
          expect("entered", enter_enclave().vector, vec::done);
        },
        [] { the_plan.tcs.oentry = come_out; }),
};

}  // namespace

const Table eupdatesvn_table = table("EUPDATESVN", prepare, rows);

}  // namespace sgx
