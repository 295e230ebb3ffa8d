// All EPC of a domain without a pager goes out, and comes back to the frames that its pages have: by the leaves that
// every silicon has, without asking the guest for anything. That a page is free EPA proves; what the others are EBLOCK
// tells (SDM vol. 3D, 38.3); whose a child is it has in common with its SECS, the ENCLAVEID that EWB writes into both
// images.
//
// Version arrays lie in frames of pages that are free. So it takes one of those for every 512 pages that are in use.
//
// Thread rules: its caller's, one at a time.
#pragma once

#include <optional>

#include "hypervisor/epc/fixed_epc.hpp"
#include "hypervisor/epc/moving/movable_epc.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"
#include "hypervisor/epc/root_leaves.hpp"

namespace cloister::hypervisor {

class FixedMover final : public MovableEpc {
 public:
  /// All must outlive it.
  FixedMover(vmx::Package& package, const EpcPages& pages, const FixedEpc& epc, RootLeaves& leaves)
      : package_(package), pages_(pages), epc_(epc), leaves_(leaves), versions_(package) {}

  u64 left() const override;
  tl::expected<const MovedEpc*, std::string> evict_all() override;
  SealedSpan image_of(arch::Gpa page) override;
  arch::Mfn root() const override { return versions_.frame_of(versions_.last_number()); }
  tl::expected<arch::Mfn, std::string> expect(MovedEpc moved, MovedImages images) override;
  Done load_arrays() override;
  Done go_on() override;
  void give_up() override;

 private:
  struct Used {
    MovedPage page;
    arch::Mfn frame{};
    bool is_child = false, goes = false;
  };
  std::vector<Used> find_used();
  Done make_room(u64 pages);
  void block(std::vector<Used>& used);
  bool write_out(Used& used);
  /// Children have the SECS of their ENCLAVEID.
  void join();
  void load(const MovedPage& page);
  VersionPages::Frames frames();

  vmx::Package& package_;
  const EpcPages& pages_;
  const FixedEpc& epc_;
  RootLeaves& leaves_;
  VersionPages versions_;
  std::vector<arch::Mfn> free_;  ///< frames for arrays
  MovedEpc moved_;
  MovedImages images_;
};

}  // namespace cloister::hypervisor
