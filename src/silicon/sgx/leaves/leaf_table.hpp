// Every leaf of ENCLS, ENCLU and ENCLV: its function, which is in a file of its name, its number, and the flag that
// brings it.
#pragma once

#include <span>

#include "silicon/sgx/entry/entry.hpp"
#include "vmx/features.hpp"

namespace cloister::silicon {

/// Where ENCLU leaves may run.
enum class Where : u8 { anywhere, inside, outside };

struct LeafRow {
  u32 number;
  Leaf leaf;
  bool SgxFeatures::*brings;  ///< the flag that brings the leaf; null: SGX1
  Where where = Where::anywhere;
  bool alone = false;  ///< ENCLS: no other leaf of it may run in the package meanwhile
};

/// The flag with this leaf in its `leaves`.
constexpr bool SgxFeatures::*flag_of(u64 vmx::SgxFlagRow::*leaves, u32 leaf) {
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows) {
    if ((row.*leaves >> leaf & 1) != 0) return row.flag;
  }
  return nullptr;
}

constexpr LeafRow leaf_row(arch::EnclsLeaf number, Leaf leaf, bool alone = false) {
  return {.number = static_cast<u32>(number),
          .leaf = leaf,
          .brings = flag_of(&vmx::SgxFlagRow::encls, static_cast<u32>(number)),
          .alone = alone};
}
constexpr LeafRow leaf_row(arch::EncluLeaf number, Leaf leaf, Where where) {
  return {static_cast<u32>(number), leaf, flag_of(&vmx::SgxFlagRow::enclu, static_cast<u32>(number)), where};
}
constexpr LeafRow leaf_row(arch::EnclvLeaf number, Leaf leaf) { return {static_cast<u32>(number), leaf, nullptr}; }

/// The row of a supported leaf, or null: an invalid leaf.
inline const LeafRow* find_leaf(std::span<const LeafRow> rows, const SgxFeatures& features, u32 leaf) {
  for (const LeafRow& row : rows) {
    if (row.number == leaf) return (row.brings == nullptr || features.*row.brings) ? &row : nullptr;
  }
  return nullptr;
}

// ENCLS (SDM vol. 3D, 38.3).
LeafResult ecreate(LeafContext&);
LeafResult eadd(LeafContext&);
LeafResult eextend(LeafContext&);
LeafResult einit(LeafContext&);
LeafResult eremove(LeafContext&);
LeafResult edbgrd(LeafContext&);
LeafResult edbgwr(LeafContext&);
LeafResult epa(LeafContext&);
LeafResult eblock(LeafContext&);
LeafResult etrack(LeafContext&);
LeafResult ewb(LeafContext&);
LeafResult eldb(LeafContext&);
LeafResult eldu(LeafContext&);
LeafResult eaug(LeafContext&);
LeafResult emodpr(LeafContext&);
LeafResult emodt(LeafContext&);
LeafResult erdinfo(LeafContext&);
LeafResult etrackc(LeafContext&);
LeafResult eldbc(LeafContext&);
LeafResult elduc(LeafContext&);
LeafResult eupdatesvn(LeafContext&);

inline constexpr LeafRow encls_leaves[] = {
    leaf_row(arch::EnclsLeaf::ecreate, ecreate),
    leaf_row(arch::EnclsLeaf::eadd, eadd),
    leaf_row(arch::EnclsLeaf::einit, einit),
    leaf_row(arch::EnclsLeaf::eremove, eremove),
    leaf_row(arch::EnclsLeaf::edbgrd, edbgrd),
    leaf_row(arch::EnclsLeaf::edbgwr, edbgwr),
    leaf_row(arch::EnclsLeaf::eextend, eextend),
    leaf_row(arch::EnclsLeaf::eldb, eldb),
    leaf_row(arch::EnclsLeaf::eldu, eldu),
    leaf_row(arch::EnclsLeaf::eblock, eblock),
    leaf_row(arch::EnclsLeaf::epa, epa),
    leaf_row(arch::EnclsLeaf::ewb, ewb),
    leaf_row(arch::EnclsLeaf::etrack, etrack),
    leaf_row(arch::EnclsLeaf::eaug, eaug),
    leaf_row(arch::EnclsLeaf::emodpr, emodpr),
    leaf_row(arch::EnclsLeaf::emodt, emodt),
    leaf_row(arch::EnclsLeaf::erdinfo, erdinfo),
    leaf_row(arch::EnclsLeaf::etrackc, etrackc),
    leaf_row(arch::EnclsLeaf::eldbc, eldbc),
    leaf_row(arch::EnclsLeaf::elduc, elduc),
    leaf_row(arch::EnclsLeaf::eupdatesvn, eupdatesvn, true),
};

// ENCLU (SDM vol. 3D, 38.4); those that cross the border of an enclave are in sgx/entry/.
LeafResult ereport(LeafContext&);
LeafResult egetkey(LeafContext&);
LeafResult eaccept(LeafContext&);
LeafResult emodpe(LeafContext&);
LeafResult eacceptcopy(LeafContext&);

inline constexpr LeafRow enclu_leaves[] = {
    leaf_row(arch::EncluLeaf::ereport, ereport, Where::inside),
    leaf_row(arch::EncluLeaf::egetkey, egetkey, Where::inside),
    leaf_row(arch::EncluLeaf::eenter, eenter, Where::outside),
    leaf_row(arch::EncluLeaf::eresume, eresume, Where::outside),
    leaf_row(arch::EncluLeaf::eexit, eexit, Where::inside),
    leaf_row(arch::EncluLeaf::eaccept, eaccept, Where::inside),
    leaf_row(arch::EncluLeaf::emodpe, emodpe, Where::inside),
    leaf_row(arch::EncluLeaf::eacceptcopy, eacceptcopy, Where::inside),
    leaf_row(arch::EncluLeaf::edeccssa, edeccssa, Where::inside),
};

// ENCLV (SDM vol. 3D, 38.5).
LeafResult edecvirtchild(LeafContext&);
LeafResult eincvirtchild(LeafContext&);
LeafResult esetcontext(LeafContext&);

inline constexpr LeafRow enclv_leaves[] = {
    leaf_row(arch::EnclvLeaf::edecvirtchild, edecvirtchild),
    leaf_row(arch::EnclvLeaf::eincvirtchild, eincvirtchild),
    leaf_row(arch::EnclvLeaf::esetcontext, esetcontext),
};

}  // namespace cloister::silicon
