// How all EPC of a domain goes out but for a root, and comes back. No processor is in the guest, and none enters,
// from evict_all() or expect() on until go_on() has returned; who uses a domain's EPC beside its guest finds nothing to
// do meanwhile.
//
// Out:  evict_all(), then the root at root() is exported.
// Early: before it, while the guest runs, passes in which what is here is evicted, and what is out is handed to who
//        sends it. What the guest needs comes back in; it goes out under another version, and is handed out again. So
//        of each page the last image that was handed out is the one that counts, and an older one has no version.
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

  // ---- early, by a thread that could close the gate
  /// Nothing of it was handed out yet.
  virtual void begin_early() {}
  /// Pages that evict_all() would leave to be sent, as far as is known.
  virtual u64 left() const = 0;
  /// Begins a pass over all of it.
  virtual void begin_pass() {}
  /// What comes next in the pass, as many as fit: evicts what is here, but for what was used since the pass before
  /// (`hot`: also that). How many; none: the pass is over.
  virtual std::size_t leave_early([[maybe_unused]] bool hot, [[maybe_unused]] std::span<EarlyPage> to) { return 0; }
  /// Of a page that evict_all() has evicted: its image was handed out.
  virtual bool has_left_early([[maybe_unused]] arch::Gpa page) const { return false; }
  /// None leaves early any more: all may be here again. After go_on() the guest runs meanwhile.
  virtual void end_early() {}

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
