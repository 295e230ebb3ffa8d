// Guest linear to guest-physical addresses by the guest's own page tables (SDM vol. 3A, ch. 4): 32-bit, PAE and 4-level
// paging. For the hypervisor's own needs: fetching an instruction to emulate, string I/O operands, a debugger.
#pragma once

#include <optional>
#include <tl/expected.hpp>

#include "vmx/package.hpp"

namespace cloister::hypervisor {

/// Where page tables lie. Entries are 4 or 8 bytes.
class TableMemory {
 public:
  virtual ~TableMemory() = default;
  /// nullopt: not memory.
  virtual std::optional<u64> read(arch::Gpa from, unsigned bytes) const = 0;
  /// Stores `desired` if `expected` is still there, atomically; false: it is not.
  virtual bool update(arch::Gpa at, u64 expected, u64 desired, unsigned bytes) = 0;
};

/// A domain's RAM as page tables' memory.
class GuestTables final : public TableMemory {
 public:
  explicit GuestTables(vmx::GuestMemory& memory) : memory_(memory) {}
  std::optional<u64> read(arch::Gpa from, unsigned bytes) const override;
  bool update(arch::Gpa at, u64 expected, u64 desired, unsigned bytes) override;

 private:
  vmx::GuestMemory& memory_;
};

/// The registers that paging depends on.
struct PagingState {
  u64 cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
  bool ac = false;  ///< RFLAGS.AC: lifts SMAP
  unsigned physical_bits = 46;

  static PagingState of(const vmx::SystemRegs& system, u64 rflags, unsigned physical_bits);
};

struct WalkAccess {
  bool write = false, fetch = false, user = false;
  /// A debugger's look: no permission is checked, and accessed and dirty bits stay.
  bool probe = false;
  /// Permissions are checked, and accessed and dirty bits stay.
  bool quiet = false;
};

/// Why an address does not translate.
struct WalkFault {
  u32 error = 0;  ///< of the page fault
  /// A paging structure lies outside RAM: hardware has no page fault for that.
  bool table_outside_ram = false;
  bool operator==(const WalkFault&) const = default;
};

/// Translates one address; sets accessed and dirty bits as the processor does (SDM vol. 3A, 4.8): each in the entry
/// that was read, or the walk starts over.
tl::expected<arch::Gpa, WalkFault> walk(TableMemory& tables, const PagingState& paging, arch::Gva linear,
                                        const WalkAccess& access);

}  // namespace cloister::hypervisor
