// The check lists of the leaves that page enclaves (sgx/rows.hpp).
#include "sgx/tables.hpp"

CASE(EPA) { walk(sgx::epa_table); }
CASE(EBLOCK) { walk(sgx::eblock_table); }
CASE(ETRACK) { walk(sgx::etrack_table); }
CASE(ETRACKC) { walk(sgx::etrackc_table); }
CASE(EWB) { walk(sgx::ewb_table); }
CASE(ELDB) { walk(sgx::eldb_table); }
CASE(ELDU) { walk(sgx::eldu_table); }
CASE(ELDBC) { walk(sgx::eldbc_table); }
CASE(ELDUC) { walk(sgx::elduc_table); }
CASE(ERDINFO) { walk(sgx::erdinfo_table); }
CASE(LATCH) { walk(sgx::latch_table); }
CASE(EXPORTROOT) { walk(sgx::exportroot_table); }
CASE(UNLATCH) { walk(sgx::unlatch_table); }
CASE(STARTOVER) { walk(sgx::startover_table); }
CASE(IMPORTROOT) { walk(sgx::importroot_table); }
CASE(COMMIT) { walk(sgx::commit_table); }
CASE(ABORT) { walk(sgx::abort_table); }
