// The check lists of the leaves that build enclaves, look into them, and need that there are none (sgx/rows.hpp).
#include "sgx/tables.hpp"

CASE(ECREATE) { walk(sgx::ecreate_table); }
CASE(EADD) { walk(sgx::eadd_table); }
CASE(EEXTEND) { walk(sgx::eextend_table); }
CASE(EINIT) { walk(sgx::einit_table); }
CASE(EREMOVE) { walk(sgx::eremove_table); }
CASE(EDBGRD) { walk(sgx::edbgrd_table); }
CASE(EDBGWR) { walk(sgx::edbgwr_table); }
CASE(EUPDATESVN) { walk(sgx::eupdatesvn_table); }
