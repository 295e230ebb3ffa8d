// What a leaf of ENCLS, ENCLU or ENCLV is written with: operands, page locks and results.
//
// A leaf is a function `LeafResult leaf(LeafContext&)`. It checks in the manual's order, changes nothing before the
// last check that can fail, and returns what software sees: nothing (RAX and RFLAGS unchanged), a code in RAX with
// flags, or a Miss (exception or VM exit). leaf_table.hpp has a row for each.
#pragma once

#include <algorithm>
#include <optional>
#include <tl/expected.hpp>
#include <variant>

#include "arch/sgx.hpp"
#include "arch/try.hpp"
#include "silicon/isa/system/descriptor.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/sgx/check.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/sgx/epc/secs.hpp"
#include "silicon/sgx/operands.hpp"

namespace cloister::silicon {

/// RAX and the flags of a leaf that returns codes: CF and ZF as given, PF, AF, OF and SF clear.
struct Code {
  arch::SgxError error = arch::SgxError::success;
  bool zf = false, cf = false;
};
inline Code success() { return {}; }
/// The usual error: ZF = 1.
inline Code failure(arch::SgxError e) { return {e, true, false}; }
/// Errors that some leaves report with CF = 1.
inline Code failure_cf(arch::SgxError e) { return {e, false, true}; }

/// monostate: the leaf changes neither RAX nor the flags (or has changed them itself).
using LeafDone = std::variant<std::monostate, Code>;
using LeafResult = tl::expected<LeafDone, Miss>;

inline tl::unexpected<Miss> leaf_gp() { return tl::unexpected(fault_miss(arch::vector::gp, 0)); }

class LeafContext {
 public:
  /// `processor`: the one that executes the leaf; null: root mode runs it, and only leaves that do without one.
  LeafContext(OperandSource& operands, PackageImpl& owner, Cpu* processor)
      : package(owner), operands_(operands), cpu_(processor) {}

  PackageImpl& package;
  u64 next_rip = 0;          ///< of the instruction after this one
  bool transferred = false;  ///< the leaf has set RIP

  Cpu& cpu() const { return *cpu_; }
  u64 reg(arch::Gpr which) const { return operands_.reg(which); }
  /// RBX, RCX, RDX as linear addresses: relative to DS, as wide as the mode.
  u64 rbx() const { return linear(reg(arch::rbx)); }
  u64 rcx() const { return linear(reg(arch::rcx)); }
  u64 rdx() const { return linear(reg(arch::rdx)); }
  u64 linear(u64 offset) const { return operands_.linear(offset); }
  bool epc_virtualization() const { return operands_.epc_virtualization(); }
  bool root() const { return operands_.root(); }

  // `check` is the name of the check that each of these makes (check.hpp).

  /// #GP(0) unless the address is a multiple of `alignment` and canonical.
  tl::expected<void, Miss> aligned(u64 linear, u64 alignment, const char* check) const {
    if (fails(check, (linear & (alignment - 1)) != 0)) return leaf_gp();
    if (fails("OPERAND.canonical", !operands_.canonical(linear))) return leaf_gp();
    return {};
  }

  /// The EPC page behind a linear address: paging's own faults first, then #PF with the SGX bit if it is not EPC.
  tl::expected<u32, Miss> epc(u64 linear, Access access, const char* check);
  /// The same with its guest-physical address, which becomes a SECS's ENCLAVECONTEXT.
  struct EpcPage {
    u32 index;
    u64 physical;
  };
  tl::expected<EpcPage, Miss> epc_page(u64 linear, Access access, const char* check);
  /// nullopt if it is not EPC (ERDINFO).
  tl::expected<std::optional<u32>, Miss> epc_or_not(u64 linear, Access access);
  /// #PF with P, SGX and, for ENCLS's write operands, W: what EPCM violations of an operand raise.
  tl::unexpected<Miss> epc_fault(u64 linear, Access access = Access::write) const;

  /// Reads or writes an operand outside EPC as an explicit data access of the instruction; in enclave mode, wherever it
  /// is.
  tl::expected<void, Miss> read(u64 linear, void* to, unsigned bytes) { return operands_.read(linear, to, bytes); }
  tl::expected<void, Miss> write(u64 linear, const void* from, unsigned bytes) {
    return operands_.write(linear, from, bytes);
  }
  template <class T>
  tl::expected<T, Miss> read_as(u64 linear) {
    T t;
    TRY(read(linear, &t, sizeof t));
    return t;
  }

  EpcmEntry& epcm(u32 index) { return package.epcm(index); }
  SecsPage& secs(u32 index) { return *reinterpret_cast<SecsPage*>(package.page(index)); }
  /// A copy of a SECS at one moment: ENCLV counts in it meanwhile.
  SecsPage secs_now(u32 index) {
    const MutexLock held(package.mutex());
    return secs(index);
  }
  /// Call before writing to an EPC page's bytes: cached code of it goes stale.
  void touch(u32 index) { page_store(package.state(index)); }

  /// Result of a leaf that cannot get a page's lock: #GP(0). With the EPC virtualization extensions, SGX_CONFLICT
  /// exits.
  tl::unexpected<Miss> busy(u64 linear) const;
  /// The same for leaves and operands whose table names a code: page_exception (else #GP(0)) or page_error (else
  /// SGX_EPC_PAGE_CONFLICT with ZF).
  LeafResult busy(u64 linear, SgxConflict code) const;
  /// With the EPC virtualization extensions, the SGX_CONFLICT exit of a leaf that cannot track this SECS; else
  /// `otherwise`.
  LeafResult cannot_track(u32 secs_index, SgxConflict code, LeafResult otherwise);

  // Enclave mode's operands (ENCLU): in ELRANGE (#GP), EPC, and readable or writable PT_REG of this enclave (#PF).
  tl::expected<void, Miss> in_elrange(u64 linear, unsigned bytes, const char* check) const;
  tl::expected<u32, Miss> enclave_operand(u64 linear, Access access, const char* check);
  /// The last of these checks alone, of an EPC page that `linear` has been found to name.
  tl::expected<void, Miss> enclave_page(u32 index, u64 linear, Access access, const char* check);

 private:
  OperandSource& operands_;
  Cpu* cpu_;
};

using Leaf = LeafResult (*)(LeafContext&);

/// SECINFO's reserved bits: FLAGS outside `defined`, and the bytes after it.
bool reserved_clear(const arch::Secinfo& secinfo);
template <std::size_t n>
bool all_zero(const std::array<u8, n>& bytes) {
  return std::ranges::all_of(bytes, [](u8 b) { return b == 0; });
}

}  // namespace cloister::silicon
