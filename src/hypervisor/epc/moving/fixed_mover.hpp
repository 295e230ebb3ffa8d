// All EPC of a domain without a pager goes out, and comes back to the frames that its pages have: by the leaves that
// every silicon has, without asking the guest for anything. That a page is free EPA proves; what the others are EBLOCK
// tells (SDM vol. 3D, 38.3); whose a child is it has in common with its SECS, the ENCLAVEID that EWB writes into both
// images.
//
// Version arrays lie in frames of pages that are free, and else in spare ones (fixed_epc.hpp). So it takes one of those
// for every 512 pages that are in use.
//
// With OSS children leave early, and come late (fixed_pager.hpp): at the target, and where a move has come to nothing.
//
// Thread rules: its caller's, one at a time, but for pager().
#pragma once

#include <optional>

#include "hypervisor/epc/fixed_epc.hpp"
#include "hypervisor/epc/moving/fixed_pager.hpp"
#include "hypervisor/epc/moving/movable_epc.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"
#include "hypervisor/epc/root_leaves.hpp"

namespace cloister::hypervisor {

class FixedMover final : public MovableEpc {
 public:
  /// All must outlive it.
  explicit FixedMover(FixedPager::Domain domain)
      : package_(domain.package),
        pages_(domain.pages),
        epc_(domain.epc),
        leaves_(domain.leaves),
        versions_(domain.package),
        pager_(std::move(domain), versions_) {}

  /// While the guest runs.
  FixedPager& pager() { return pager_; }

  void begin_early() override {
    begun_ = true;
    pager_.begin();
  }
  u64 left() const override { return pager_.left(); }
  void begin_pass() override { pager_.begin_pass(); }
  std::size_t leave_early(bool hot, std::span<EarlyPage> to) override { return pager_.leave(hot, to); }
  bool has_left_early(arch::Gpa page) const override { return left_early_.contains(page.value); }
  void end_early() override {
    begun_ = false;
    pager_.end();
  }
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
  bool have_free(u64 frames);
  void block(std::vector<Used>& used);
  bool write_out(Used& used);
  /// Children have the SECS of their ENCLAVEID.
  void join();
  void load(const MovedPage& page);
  void be_here();
  VersionPages::Frames frames();

  vmx::Package& package_;
  const EpcPages& pages_;
  FixedEpc& epc_;
  RootLeaves& leaves_;
  VersionPages versions_;
  FixedPager pager_;
  std::vector<arch::Mfn> free_;  ///< frames for arrays
  MovedEpc moved_;
  MovedImages images_;
  std::unordered_set<u64> left_early_;  ///< pages that are out, by their addresses
  bool arrives_ = false;                ///< what is out comes from elsewhere
  bool begun_ = false;                  ///< end_early() is to come
};

}  // namespace cloister::hypervisor
