// SGX: leaf numbers, page types and error codes (SDM vol. 3D, tables 34-1, 34-15 and 38-3 ff).
#pragma once

#include "arch/types.hpp"

namespace cloister::arch {

/// EPCM page types (SDM vol. 3D, table 34-15).
enum class PageType : u8 { secs = 0, tcs = 1, reg = 2, va = 3, trim = 4, ss_first = 5, ss_rest = 6 };

/// ENCLS leaves, in EAX (SDM vol. 3D, 38.3).
enum class EnclsLeaf : u32 {
  ecreate = 0x00,
  eadd = 0x01,
  einit = 0x02,
  eremove = 0x03,
  edbgrd = 0x04,
  edbgwr = 0x05,
  eextend = 0x06,
  eldb = 0x07,
  eldu = 0x08,
  eblock = 0x09,
  epa = 0x0a,
  ewb = 0x0b,
  etrack = 0x0c,
  eaug = 0x0d,
  emodpr = 0x0e,
  emodt = 0x0f,
  erdinfo = 0x10,
  etrackc = 0x11,
  eldbc = 0x12,
  elduc = 0x13,
};

/// Error codes in RAX (SDM vol. 3D, table 38-4).
enum class SgxError : u64 { success = 0, epc_page_conflict = 7, child_present = 13, enclave_act = 14 };

}  // namespace cloister::arch
