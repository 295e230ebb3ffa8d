// The diagnostics door: what pictures and metrics show of a package's EPC and of what its processors did. Ours, not the
// architecture's, and read-only: no hypervisor decision uses it.
//
// It looks at the EPCM file of an EpcMemory (epc_memory.hpp), from any process that has the descriptor, while
// processors run or after their death. Every field is read for itself: a look at a running package may catch a page
// between two states. Nothing is locked and nothing that is looked at is touched: unused EPC still costs nothing.
#pragma once

#include <array>
#include <vector>

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::vmx::diagnostics {

/// A valid page of EPC, by its EPCM entry (SDM vol. 3D, table 35-20).
struct Page {
  u32 index = 0;  ///< in the package's EPC: its sections' pages one after the other
  arch::PageType type = arch::PageType::secs;
  bool read = false, write = false, execute = false;
  bool blocked = false, pending = false, modified = false, permission_restricted = false;
  u64 enclave_address = 0;  ///< linear; 0 for SECS and version arrays
  u64 eid = 0;              ///< of the enclave that it belongs to; 0 for version arrays
};

inline constexpr std::size_t page_types = static_cast<std::size_t>(arch::PageType::ss_rest) + 1;

/// Pages by type; a blocked, pending or modified page is counted under its type too.
struct PageCounts {
  u64 free = 0;
  std::array<u64, page_types> valid{};  ///< by arch::PageType
  u64 blocked = 0, pending = 0, modified = 0;
};

/// What happened since the memory was created, on all processors.
struct Events {
  /// Leaves that ran on a processor, whatever their result: not those that exited, were invalid, or ran in root mode.
  std::array<u64, 32> encls{};           ///< by arch::EnclsLeaf
  std::array<u64, 16> enclu{};           ///< by arch::EncluLeaf
  std::array<u64, 4> enclv{};            ///< by arch::EnclvLeaf
  std::array<u64, 64> einit_failures{};  ///< by the arch::SgxError that EINIT returned; larger ones as 63
  u64 asynchronous_exits = 0;            ///< AEXs
  u64 instructions = 0;                  ///< that guests retired, up to each processor's last exit
};

/// Any thread.
class Observer {
 public:
  virtual ~Observer() = default;

  /// Of all sections.
  virtual u64 pages() const = 0;
  /// The valid ones in the order of their indices.
  virtual std::vector<Page> valid_pages() const = 0;
  virtual PageCounts count() const = 0;
  virtual Events events() const = 0;
};

}  // namespace cloister::vmx::diagnostics
