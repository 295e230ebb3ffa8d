// The leaves of our own that move a package's root (docs/vendor-leaves.md): root mode's, so that no payload can run
// them.
#include "tables.hpp"

namespace sgx {

namespace {

constexpr const char *root_mode = "root mode's alone", *begins = "RootMove.ExportChecks",
                     *comes = "RootMove.ImportChecks", *altered = "RootMove.NoByteOfAnImageMayChange",
                     *ends = "RootMove.TheSourceIsLatchedUntilItsTokenComes",
                     *goes_on = "RootMove.TheTargetOnlyLoadsBeforeItIsCommitted";

void prepare() {}

constexpr Row latch_rows[] = {
    unit("LATCH.guest", "the package's root moves: any leaf of a guest", gp, "SgxFront.ALatchedPackageHasNoLeaves",
         root_mode),
    unit("LATCH.root", "the package's root moves: any leaf in root mode but those that may run", gp, ends, root_mode),
    unit("LATCH.root_ecreate", "the package's root moves: ECREATE in root mode", gp, ends, root_mode),
};
constexpr Row export_rows[] = {
    unit("EXPORTROOT.package_busy", "a leaf runs in the package", answers("package_busy"), begins, root_mode),
    unit("MOVE.latched", "the package is part of a session", answers("latched"), ends, root_mode),
    unit("MOVE.session", "the package has been in this session", answers("session_used"), begins, root_mode),
    unit("EXPORTROOT.epc", "the frame is not in the EPC", answers("not_epc"), begins, root_mode),
    unit("EXPORTROOT.valid", "the frame is not a valid page", answers("not_root"), begins, root_mode),
    unit("EXPORTROOT.type", "the page is not PT_VA", answers("not_root"), begins, root_mode),
    unit("EXPORTROOT.alone", "another page of the EPC is valid", answers("not_alone"), begins, root_mode),
};
constexpr Row import_rows[] = {
    unit("IMPORTROOT.package_busy", "a leaf runs in the package", answers("package_busy"), comes, root_mode),
    unit("MOVE.latched", "the package is part of a session", answers("latched"), goes_on, root_mode),
    unit("MOVE.session", "the package has been in this session", answers("session_used"), comes, root_mode),
    unit("IMPORTROOT.epc", "the frame is not in the EPC", answers("not_epc"), comes, root_mode),
    unit("IMPORTROOT.empty", "a page of the EPC is valid", answers("not_alone"), comes, root_mode),
    unit("IMPORTROOT.authentic", "the image is another session's, domain's or key's, or altered",
         answers("not_authentic"), altered, root_mode),
    unit("IMPORTROOT.layout", "the image has another layout", answers("not_authentic"),
         "RootMove.AnImageOfAnotherLayoutIsRefused", root_mode),
    unit("IMPORTROOT.platform", "the image is of a platform with other keys", answers("other_platform"), comes,
         root_mode),
    unit("IMPORTROOT.cpusvn", "its CPUSVN is beyond that of this package's microcode", answers("cpusvn"),
         "RootMove.ATargetWithOlderMicrocodeRefuses", root_mode),
};
constexpr Row end_rows[] = {
    unit("MOVE.part", "the package is not in the part of a session that this ends", answers("latched"), ends,
         root_mode),
    unit("MOVE.token", "the token's digest is another", answers("wrong_token"), ends, root_mode),
};
constexpr Row startover_rows[] = {
    unit("STARTOVER.package_busy", "a leaf runs in the package", answers("package_busy"),
         "RootMove.ASourceStartsOverWithOtherKeys", root_mode),
    unit("STARTOVER.part", "the package is the target of a session", answers("latched"),
         "RootMove.AnAbortedTargetHasNothingLeft", root_mode),
    unit("STARTOVER.empty", "a page of the EPC is valid", answers("not_alone"),
         "RootMove.ASourceStartsOverWithOtherKeys", root_mode),
};
constexpr Row abort_rows[] = {
    unit("ABORT.package_busy", "a leaf runs in the package", answers("package_busy"),
         "RootMove.AnAbortedTargetHasNothingLeft", root_mode),
    unit("ABORT.part", "the package is not the target of a session", answers("latched"), ends, root_mode),
};

}  // namespace

const Table latch_table = table("LATCH", prepare, latch_rows);
const Table exportroot_table = table("EXPORTROOT", prepare, export_rows);
const Table importroot_table = table("IMPORTROOT", prepare, import_rows);
const Table unlatch_table = table("UNLATCH", prepare, end_rows);
const Table startover_table = table("STARTOVER", prepare, startover_rows);
const Table commit_table = table("COMMIT", prepare, end_rows);
const Table abort_table = table("ABORT", prepare, abort_rows);

}  // namespace sgx
