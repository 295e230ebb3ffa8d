// The leaves that move a package's root (vmx/root_mover.hpp, docs/vendor-leaves.md).
#pragma once

#include <optional>
#include <vector>

#include "host/mutex.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "vmx/root_mover.hpp"

namespace cloister::silicon {

class RootMover final : public vmx::RootMover {
 public:
  /// The package outlives it.
  explicit RootMover(PackageImpl& package) : package_(package) {}

  tl::expected<vmx::RootImage, vmx::MoveError> export_root(Mfn root, const vmx::MoveSession& session) override;
  tl::expected<void, vmx::MoveError> unlatch(const vmx::MoveToken& token) override;
  tl::expected<void, vmx::MoveError> start_over(const vmx::PlatformSecrets& secrets) override;
  tl::expected<void, vmx::MoveError> import_root(Mfn root, const vmx::RootImage& image,
                                                 const vmx::MoveSession& session) override;
  tl::expected<void, vmx::MoveError> commit_import(const vmx::MoveToken& token) override;
  tl::expected<void, vmx::MoveError> abort_import() override;

 private:
  enum class Part : u8 { none, source, target, gone };

  /// The checks that both directions begin with.
  tl::expected<void, vmx::MoveError> may_begin(const vmx::MoveSession& session) CLOISTER_REQUIRES(mutex_);
  void begin(Part part, u32 root, const vmx::MoveSession& session, Latch latch) CLOISTER_REQUIRES(mutex_);
  /// Whether the token is the one that ends what this package is part of.
  tl::expected<void, vmx::MoveError> may_end(Part part, const vmx::MoveToken& token) CLOISTER_REQUIRES(mutex_);

  PackageImpl& package_;
  Mutex mutex_;  ///< one of these leaves at a time
  Part part_ CLOISTER_GUARDED_BY(mutex_) = Part::none;
  u32 root_ CLOISTER_GUARDED_BY(mutex_) = 0;
  arch::Bytes32 token_digest_ CLOISTER_GUARDED_BY(mutex_){};
  std::vector<arch::Bytes16> used_ CLOISTER_GUARDED_BY(mutex_);  ///< ids of sessions
};

}  // namespace cloister::silicon
