// The EPCM: one entry for each page of EPC (SDM vol. 3D, 34.20). Its layout is ours; its fields are the manual's.
#pragma once

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::silicon {

struct EpcmEntry {
  u64 enclave_address = 0;  ///< ENCLAVEADDRESS: the only linear page through which the enclave reaches this one
  u32 secs = 0;             ///< ENCLAVESECS: index of the owner's SECS in the package's EPC
  u32 children = 0;         ///< PT_SECS: child pages
  u32 active_threads = 0;   ///< PT_SECS: logical processors in the enclave
  arch::PageType type = arch::PageType::secs;
  bool valid : 1 = false;
  bool read : 1 = false;
  bool write : 1 = false;
  bool execute : 1 = false;
  bool blocked : 1 = false;
  bool pending : 1 = false;
  bool modified : 1 = false;
  bool permission_restricted : 1 = false;
};

}  // namespace cloister::silicon
