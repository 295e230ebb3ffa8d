// The one layout of the payloads' enclaves. Its pages are added and not measured further, so that MRENCLAVE does not
// depend on what is in them; the program that signs it when the payloads are built reads the same table.
#pragma once

namespace sgx {

/// Pages of the enclave, counted from its base. Those from `dynamic` on are not added.
enum Page : unsigned {
  code_page = 0,
  tcs_page = 1,
  ssa_page = 2,  ///< three frames of two pages
  data_page = 8,
  output_page = 9,
  read_only_page = 10,
  execute_only_page = 11,
  second_tcs_page = 12,
  second_ssa_page = 13,  ///< one frame
  added_pages = 15,
  dynamic_page = 16,
};

inline constexpr unsigned long enclave_bytes = 64 * 4096;
inline constexpr unsigned ssa_frame_pages = 2, ssa_frames = 3;

namespace rights {
inline constexpr unsigned long r = 1, w = 2, x = 4;
}
inline constexpr unsigned long type_tcs = 0x100, type_reg = 0x200, type_trim = 0x400;

/// SECINFO.FLAGS of an added page.
constexpr unsigned long flags_of(unsigned page) {
  switch (page) {
    case code_page: return type_reg | rights::r | rights::x;
    case tcs_page:
    case second_tcs_page: return type_tcs;
    case read_only_page: return type_reg | rights::r;
    case execute_only_page: return type_reg | rights::x;
    default: return type_reg | rights::r | rights::w;
  }
}

/// The SIGSTRUCTs of the build, all for this layout.
enum Signature : unsigned {
  plain,         ///< no demands (all masks 0); ISVPRODID 3, ISVSVN 5, ISVEXTPRODID 7…
  strict,        ///< demands ATTRIBUTES = DEBUG and MODE64BIT, MISCSELECT = 0
  other_xfrm,    ///< demands XFRM[2]
  with_family,   ///< ISVFAMILYID is not zero
  other_signer,  ///< as plain, by another key
  signatures,
};

}  // namespace sgx
