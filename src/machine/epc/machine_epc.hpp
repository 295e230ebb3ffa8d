// The accounts of the machine's EPC: which frames there are, in which package, and who holds them. Pure book-keeping,
// by extents of 4 KiB frames: no frame is touched, and nothing is kept beyond the process.
//
// A frame is free, granted to an owner, or withdrawn for good. Every operation takes time that is logarithmic in the
// number of extents (and linear in the extents that it returns). An extent costs 14 bytes and a bit, so the accounts
// never take more than 16 bytes a page, even if every page is an extent of its own; in practice it is a fraction of a
// byte, since memory for them is touched only where extents begin. Each owner costs some 64 bytes more in each package
// that it has frames of.
//
// Threads: none of its own; the owner of the object locks. Errors are values and leave the accounts as they were.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "machine/epc/accounts.hpp"

namespace cloister::toolstack {

class MachineEpc {
 public:
  /// All frames free. The error says which sections overlap, are empty, or lie in a package that there is not.
  static tl::expected<MachineEpc, std::string> create(const MachineEpcSpec& spec);
  ~MachineEpc();
  MachineEpc(MachineEpc&&) noexcept;
  MachineEpc& operator=(MachineEpc&&) noexcept;

  /// Grants all of the requests or none. Requests that name no package get one and the same: the one that the others
  /// name if it has room, else the one where the least remains free (best fit). Within a package the smallest extent
  /// that suffices is taken, else the largest ones. An owner may ask again and has then more. kept: of each package,
  /// so many pages stay free; empty: none need to.
  tl::expected<EpcAllocation, EpcRefusal> allocate(EpcOwner owner, std::span<const EpcRequest> requests,
                                                   std::span<const u64> kept = {});

  /// Frees all that the owner has; its frames must be clean (clean.hpp). Returns the number of pages.
  u64 release(EpcOwner owner);
  /// Frees frames in a row that the owner has; the error if they are not all its own.
  tl::expected<void, std::string> release(EpcOwner owner, EpcExtent part);

  /// Takes a frame out of use for good, whether it is free or granted. A frame that is withdrawn already stays so.
  tl::expected<void, std::string> withdraw(arch::Mfn frame);

  /// Grants these very frames: how a restarted daemon rebuilds its accounts from its records. The error if any of them
  /// is not free or not of this machine.
  tl::expected<void, std::string> reserve(EpcOwner owner, std::span<const EpcExtent> extents);

  u32 packages() const;
  EpcCount count(u32 package) const;
  EpcCount count() const;                                   ///< of the machine
  u64 largest_free_extent(u32 package) const;               ///< pages
  std::vector<EpcHolder> holders(u32 package) const;        ///< largest first, then by number
  u64 held(EpcOwner owner, u32 package) const;              ///< pages
  std::vector<EpcExtent> extents_of(EpcOwner owner) const;  ///< by frame number; neighbours are one extent
  std::vector<EpcExtent> withdrawn(u32 package) const;      ///< by frame number
  std::optional<u32> package_of(arch::Mfn frame) const;     ///< nullopt: not of this machine
  std::optional<EpcOwner> owner_of(arch::Mfn frame) const;  ///< nullopt: not granted

  /// Bytes that the accounts take.
  struct Metadata {
    u64 reserved = 0;  ///< of address space, whatever is allocated: the worst case
    u64 resident = 0;  ///< of memory, now
  };
  Metadata metadata() const;

 private:
  struct Impl;
  explicit MachineEpc(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::toolstack
