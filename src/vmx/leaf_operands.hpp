// What a leaf of ENCLS or ENCLV takes in root mode (SDM vol. 3D, 38.3 and 38.5): EPC pages are named by their machine
// frames, and what lies outside EPC is the caller's own memory, borrowed for the call. Only what a leaf has is looked
// at; what it has and is not given is at an address where there is nothing: a fault.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::vmx {

using arch::Mfn;

/// PAGEINFO (SDM vol. 3D, 35.8). The leaf wants what it points to at the manual's alignments, or faults with #GP: a
/// page at 4 KiB, SECINFO at 64 bytes, PCMD at 128.
struct PageinfoOperand {
  u64 linaddr = 0;                 ///< EWB stores it
  std::span<std::byte> source{};   ///< SRCPGE: 4 KiB, which EWB writes; empty: 0
  std::span<std::byte> secinfo{};  ///< SECINFO; of EWB and ELD* PCMD, which EWB writes; empty: 0
  std::optional<Mfn> secs{};       ///< none: 0
};

/// An entry of a version array.
struct VersionSlot {
  Mfn page;
  u32 index = 0;  ///< 0 to 511
};

struct LeafOperands {
  Mfn page{};                              ///< RCX
  PageinfoOperand* pageinfo = nullptr;     ///< RBX of EADD, EAUG, EWB and ELD*
  const arch::Secinfo* secinfo = nullptr;  ///< RBX of EMODT; aligned to 64 bytes
  arch::Rdinfo* rdinfo = nullptr;          ///< RBX of ERDINFO, which writes it; aligned to 32 bytes
  std::optional<Mfn> child{};              ///< RBX of EINCVIRTCHILD and EDECVIRTCHILD; RCX is its SECS
  std::optional<VersionSlot> version{};    ///< RDX of EWB and ELD*
  u64 context = 0;                         ///< what RDX of ESETCONTEXT points to
};

}  // namespace cloister::vmx
