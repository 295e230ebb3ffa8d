// Where the operands of an SGX leaf are: at linear addresses of the processor that executes it (guest_operands.hpp), or
// what the hypervisor gives to a leaf that it runs in root mode (root_operands.hpp). A leaf does not know which.
#pragma once

#include <optional>
#include <tl/expected.hpp>

#include "silicon/mmu/mmu.hpp"

namespace cloister::silicon {

/// Addresses are linear ones. A Miss is what the instruction ends with.
class OperandSource {
 public:
  /// RAX to RDX as the instruction finds them.
  virtual u64 reg(arch::Gpr which) const = 0;
  /// The address that an offset means: relative to DS, as wide as the mode.
  virtual u64 linear(u64 offset) const = 0;
  virtual bool canonical(u64 linear) const = 0;

  struct Page {
    std::optional<u32> epc_index;  ///< none: it is not EPC
    u64 physical = 0;              ///< of the page, as paging translates the address
  };
  virtual tl::expected<Page, Miss> page(u64 linear, Access access) = 0;
  /// An explicit data access of the instruction, outside EPC or, in enclave mode, wherever it is.
  virtual tl::expected<void, Miss> read(u64 linear, void* to, unsigned bytes) = 0;
  virtual tl::expected<void, Miss> write(u64 linear, const void* from, unsigned bytes) = 0;

  /// CPL is 3.
  virtual bool user() const = 0;
  /// Not in root mode, and with the EPC virtualization extensions.
  virtual bool epc_virtualization() const = 0;
  /// Root mode, in which a hypervisor learns more.
  virtual bool root() const = 0;

 protected:
  ~OperandSource() = default;
};

}  // namespace cloister::silicon
