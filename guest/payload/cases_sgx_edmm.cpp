// The check lists of the leaves that change enclaves while they live (sgx/rows.hpp).
#include "sgx/tables.hpp"

CASE(EAUG) { walk(sgx::eaug_table); }
CASE(EMODPR) { walk(sgx::emodpr_table); }
CASE(EMODT) { walk(sgx::emodt_table); }
CASE(EACCEPT) { walk(sgx::eaccept_table); }
CASE(EMODPE) { walk(sgx::emodpe_table); }
CASE(EACCEPTCOPY) { walk(sgx::eacceptcopy_table); }
