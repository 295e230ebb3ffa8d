// How the enclaves of a package leave one machine and go on in another, by leaves of our own that root mode alone has
// (docs/vendor-leaves.md).
//
// EWB seals pages already, and each sealed page can be loaded once: by its version, which lies in a version array,
// whose page is evicted in turn. So when all EPC of a domain but one version array is evicted, that page is the root of
// everything: whoever has it can load the rest, once, and nothing older. Only the root moves by these leaves; what is
// sealed travels as any bytes.
//
// A root leaves a package for a session, and the package is latched from then on, until a token says that the move has
// failed. It comes into another package for a session, and nothing runs there until a token says that it has succeeded.
// The hypervisor knows of each token its digest alone, before it is told the token itself: so neither side goes on
// because of an error of its own.
#pragma once

#include <array>
#include <tl/expected.hpp>

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::vmx {

using arch::Mfn;

/// One try to move one domain's root in one direction. What is equal on both sides but the token.
struct MoveSession {
  arch::Bytes16 id{};            ///< never that of another try
  arch::Bytes16 domain{};        ///< its uuid
  arch::Bytes32 key{};           ///< seals the root, and nothing else
  arch::Bytes32 token_digest{};  ///< SHA-256 of the token that ends the session on this side
};
using MoveToken = arch::Bytes32;

/// What a package's keys come from (Package::Config).
struct PlatformSecrets {
  arch::Bytes32 root{}, paging{};
  u64 boot = 0;
};

/// A root, sealed with AES-256-GCM: 4 KiB of versions, what the platform counts and evicts pages with, and the tag.
inline constexpr std::size_t root_image_bytes = 4264;
using RootImage = std::array<u8, root_image_bytes>;

enum class MoveError : u8 {
  package_busy,    ///< other leaves run in the package
  latched,         ///< the package is part of another session, or this leaf's turn is not now
  session_used,    ///< the package has been in a session of this id
  not_epc,         ///< no frame of the package's EPC
  not_root,        ///< EXPORTROOT: no version array, or in use
  not_alone,       ///< another page of the EPC is valid
  not_authentic,   ///< sealed for another session, domain or key, or altered
  other_platform,  ///< its keys are not this package's
  cpusvn,          ///< its CPUSVN is beyond that of this package's microcode
  wrong_token,
};

/// Threads: any.
class RootMover {
 public:
  RootMover() = default;
  virtual ~RootMover() = default;
  RootMover(const RootMover&) = delete;
  RootMover& operator=(const RootMover&) = delete;

  /// Seals the version array in this frame. From then on every leaf but EREMOVE is #GP(0), in root mode and for guests.
  virtual tl::expected<RootImage, MoveError> export_root(Mfn root, const MoveSession& session) = 0;
  /// The session of export_root() has failed: the token says so. Leaves run again.
  virtual tl::expected<void, MoveError> unlatch(const MoveToken& token) = 0;

  /// Nobody says any more whether the session of export_root() has failed: what has left is given up. The package goes
  /// on with other keys, as one that has just been powered on.
  virtual tl::expected<void, MoveError> start_over(const PlatformSecrets& secrets) = 0;

  /// Makes a version array of a root in this frame. Until it is committed, root mode has ELDB, ELDU, ELDBC, ELDUC and
  /// EREMOVE alone, and guests have no leaf.
  virtual tl::expected<void, MoveError> import_root(Mfn root, const RootImage& image, const MoveSession& session) = 0;
  /// The session of import_root() has succeeded: the token says so. All leaves run.
  virtual tl::expected<void, MoveError> commit_import(const MoveToken& token) = 0;
  /// Erases what was imported. The package has EREMOVE alone, for good.
  virtual tl::expected<void, MoveError> abort_import() = 0;
};

}  // namespace cloister::vmx
