// The tables of rows, one for each leaf.
#pragma once

#include "rows.hpp"

namespace sgx {

extern const Table ecreate_table, eadd_table, eextend_table, einit_table, eremove_table, edbgrd_table, edbgwr_table,
    eupdatesvn_table;
extern const Table epa_table, eblock_table, etrack_table, etrackc_table, ewb_table, eldb_table, eldu_table, eldbc_table,
    elduc_table, erdinfo_table;
extern const Table eaug_table, emodpr_table, emodt_table, eaccept_table, emodpe_table, eacceptcopy_table;
extern const Table eenter_table, eresume_table, eexit_table, edeccssa_table, ereport_table, egetkey_table;
extern const Table encls_table, enclu_table, enclv_table, edecvirtchild_table, edecvirtchild_counter_table,
    eincvirtchild_table, esetcontext_table;
extern const Table latch_table, exportroot_table, unlatch_table, startover_table, importroot_table, commit_table,
    abort_table;

}  // namespace sgx
