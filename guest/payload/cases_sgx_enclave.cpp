// The check lists of the leaves that enter and leave enclaves, and of those that an enclave asks for its identity;
// and what ENCLS, ENCLU and ENCLV check before any leaf (sgx/rows.hpp).
#include "sgx/tables.hpp"

CASE(ENCLS) { walk(sgx::encls_table); }
CASE(ENCLU) { walk(sgx::enclu_table); }
CASE(ENCLV) { walk(sgx::enclv_table); }
CASE(EDECVIRTCHILD) {
  walk(sgx::edecvirtchild_table);
  walk(sgx::edecvirtchild_counter_table);
}
CASE(EINCVIRTCHILD) { walk(sgx::eincvirtchild_table); }
CASE(ESETCONTEXT) { walk(sgx::esetcontext_table); }
CASE(EENTER) { walk(sgx::eenter_table); }
CASE(ERESUME) { walk(sgx::eresume_table); }
CASE(EEXIT) { walk(sgx::eexit_table); }
CASE(EDECCSSA) { walk(sgx::edeccssa_table); }
CASE(EREPORT) { walk(sgx::ereport_table); }
CASE(EGETKEY) { walk(sgx::egetkey_table); }
