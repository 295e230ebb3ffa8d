// How all EPC of a domain goes out but for a root, and comes back. No processor is in the guest, and none enters,
// from evict_all() or expect() on until go_on() has returned; who uses a domain's EPC beside its guest finds nothing to
// do meanwhile.
//
// Out:  evict_all(), then the root at root() is exported.
// Back: load_arrays(), go_on(); after an export that has failed, once the package is unlatched.
// In:   expect(), the root is imported into the frame that it says, load_arrays(), the import is committed, go_on().
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "hypervisor/epc/moving/moved_epc.hpp"

namespace cloister::hypervisor {

class MovableEpc {
 public:
  using Done = tl::expected<void, std::string>;

  MovableEpc() = default;
  virtual ~MovableEpc() = default;
  MovableEpc(const MovableEpc&) = delete;
  MovableEpc& operator=(const MovableEpc&) = delete;

  /// What it is then, until go_on(). An error: it is as before.
  virtual tl::expected<const MovedEpc*, std::string> evict_all() = 0;
  /// Of one of those pages.
  virtual SealedSpan image_of(arch::Gpa page) = 0;
  /// The one page that is left.
  virtual arch::Mfn root() const = 0;

  /// In a domain that has not run: what comes, of which nothing is believed, and where its root is to be.
  virtual tl::expected<arch::Mfn, std::string> expect(MovedEpc moved, MovedImages images) = 0;
  /// The root is there: version arrays are loaded, as far as they must be before a commit.
  virtual Done load_arrays() = 0;
  /// The guest may go on.
  virtual Done go_on() = 0;
  /// Instead, from evict_all() on: all that is out is lost, and every page is free. The package runs EREMOVE at least.
  virtual void give_up() = 0;
};

}  // namespace cloister::hypervisor
