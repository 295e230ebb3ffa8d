// What the silicon keeps in the part of a SECS that the manual reserves (SDM vol. 3D, 35.7): all that must survive EWB
// and ELDU of the SECS page.
#pragma once

#include <cstring>

#include "arch/sgx.hpp"

namespace cloister::silicon {

struct SecsInternal {
  u64 eid;                      ///< unique per enclave and machine
  std::array<u8, 352> padding;  ///< of the verified signature
  arch::Bytes16 isvextprodid;
  arch::Bytes16 isvfamilyid;
  u64 virtchildcnt;
  u64 enclavecontext;
  u64 hash_blocks;  ///< 64-byte blocks measured so far; MRENCLAVE holds the chaining value until EINIT
};

/// A SECS page in EPC.
struct SecsPage {
  arch::Secs architectural;

  SecsInternal internal() const {
    SecsInternal i;
    std::memcpy(&i, architectural.reserved4.data() + offset, sizeof i);
    return i;
  }
  void set_internal(const SecsInternal& i) { std::memcpy(architectural.reserved4.data() + offset, &i, sizeof i); }
  /// In place: a leaf that reads or changes one field under the package's mutex leaves the others to those that change
  /// them meanwhile.
  SecsInternal& live() { return *reinterpret_cast<SecsInternal*>(architectural.reserved4.data() + offset); }
  const SecsInternal& live() const {
    return *reinterpret_cast<const SecsInternal*>(architectural.reserved4.data() + offset);
  }
  bool initialised() const { return (architectural.attributes.flags & arch::attributes::init) != 0; }

 private:
  static constexpr std::size_t offset = 2;  // 8-byte alignment within the page
};
static_assert(sizeof(SecsPage) == 4096);

}  // namespace cloister::silicon
