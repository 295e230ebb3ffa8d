// A domain sees more EPC than it has frames: the pager evicts pages behind its back, and loads them when they are
// needed. It does so by the leaves that a kernel uses, in root mode (SDM vol. 3D, 37.5.3 to 37.5.6 and 40): what leaves
// EPC is sealed by the processor, and the pager sees no EPCM entry, no SECS and no page.
//
// A page without a frame is not mapped. What needs it is an EPT violation, whose handler asks here for the page and has
// the processor try again; so the guest finds everything as it left it, and can tell by time alone. How the pager knows
// whose a page is depends on the silicon (paging_mode.hpp). With the EPC virtualization extensions (SDM vol. 3D, 40)
// ERDINFO tells, virtual children keep a SECS from being removed before children that are out, and leaves of the
// guest's that meet one of the pager's are tried again. Without them the handlers of leaves that exit do that
// (exits/trap/), and tell the pager what it must know.
//
// Thread rules: any thread that holds no lock of the machine's. No cryptography, and nothing that waits for processors,
// is done under the pager's lock: the page is `busy` meanwhile, and who wants it waits.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/epc/answer.hpp"
#include "hypervisor/epc/balloon.hpp"
#include "hypervisor/epc/moving/movable_epc.hpp"
#include "hypervisor/epc/pager/backing.hpp"
#include "hypervisor/epc/pager/counts.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "hypervisor/epc/pager/gate.hpp"
#include "hypervisor/epc/pager/page_book.hpp"
#include "hypervisor/epc/pager/paging_mode.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"
#include "hypervisor/epc/root_leaves.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class Pager final : public MovableEpc {
 public:
  struct Domain {
    vmx::Package& package;
    vmx::GuestMemory& memory;             ///< with the ranges reserved
    EpcPages pages;                       ///< the EPC that the guest sees
    std::vector<vmx::EpcSection> frames;  ///< what there is for it: free pages, its own
    PagingMode mode = PagingMode::oss;    ///< one that the package can do
    u32 vcpus = 1;
    Gate& gate;
    Mutex& handlers;  ///< what the handler of an exit has from frame_of() on, until its leaf has ended
    RootLeaves& leaves;
    PagerCounts* counts = nullptr;  ///< where it counts; must outlive it; null: in itself
  };
  /// The error says what there is too little of.
  static tl::expected<std::unique_ptr<Pager>, std::string> create(Domain domain);

  enum class Need : u8 {
    there,      ///< it is mapped: the processor tries again
    lost,       ///< it never will be again
    given,      ///< the guest has given it back
    exhausted,  ///< there is no frame for it, and none can be made free
  };
  /// A page of the domain's EPC is needed by one of its processors. It stays, with the last `pinned` pages that this
  /// processor needed, until that many others were: an instruction that needs several gets along.
  Need need(arch::Gpa address, u32 vcpu);
  static constexpr std::size_t pinned = 16;

  PagingMode mode() const { return mode_; }
  bool is_epc(arch::Gpa address) const { return book_.page_at(address).has_value(); }
  /// It was never used, or has been given up: a free page without a frame.
  bool absent(arch::Gpa address) const;
  /// The frame of a page that is mapped. It stays only while nothing is evicted.
  std::optional<arch::Mfn> frame_of(arch::Gpa address);

  // ---- trap.cpp: PagingMode::trap, for the handler of a leaf that exits, while no gate can close (Machine::as_guest)
  /// Runs a leaf for the guest, and again if it met one of the pager's.
  vmx::EnclsResult run(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands);
  vmx::EnclsResult run(const std::function<vmx::EnclsResult()>& leaf);
  /// The guest has made a page a child of a SECS; the guest has taken a page away.
  void made_child(arch::Gpa page, arch::Gpa secs);
  void taken_away(arch::Gpa page);
  /// The SECS whose child the page is.
  std::optional<arch::Gpa> secs_of(arch::Gpa page) const;
  /// The page is a SECS, and has children that are out.
  bool has_children_out(arch::Gpa page) const;

  /// The guest's balloon (epc/balloon.hpp). A page that is out, or on its way, is in use.
  Ballooned give(std::span<const arch::Gpa> pages);
  Ballooned take(std::span<const arch::Gpa> pages);
  /// Pages that the guest has given and not taken again.
  u64 given() const;
  std::vector<arch::Gpa> given_pages() const;

  /// Lends it frames, free pages that nobody else has.
  void lend(std::span<const vmx::EpcSection> frames);
  /// Gives up to `most` frames back: those that are free, and for the rest evicts what was not used lately. They are
  /// free pages now, and not the pager's any more. Those that were lent go first, and it keeps those that it must have.
  /// Any thread that could close the gate. `of`: frames in these rows alone, as those of a package; empty: any.
  std::vector<vmx::EpcSection> give_back(u64 most, std::span<const vmx::EpcSection> of = {});
  /// All frames that it has.
  std::vector<vmx::EpcSection> held();

  /// Sees which pages were used since it came by last, a quarter of them at each call.
  void look();

  /// Evicts one page if it is mapped and can be evicted now. True: it has no frame any more.
  bool evict(arch::Gpa address);
  /// Every page is as after power-up, absent; all frames are free but for what is in them, which the caller removes
  /// (clean_epc). No processor is in the guest.
  void forget();

  const PagerCounts& counts() const { return counts_; }

  // ---- early.cpp: some of it goes before (epc/moving/)
  void begin_early() override;
  u64 left() const override;
  void begin_pass() override;
  std::size_t leave_early(bool hot, std::span<EarlyPage> to) override;
  bool has_left_early(arch::Gpa page) const override;

  // ---- moving.cpp: all of it goes, and comes (epc/moving/)
  tl::expected<const MovedEpc*, std::string> evict_all() override;
  SealedSpan image_of(arch::Gpa page) override;
  arch::Mfn root() const override;
  tl::expected<arch::Mfn, std::string> expect(MovedEpc moved, MovedImages images) override;
  Done load_arrays() override;
  Done go_on() override;
  void give_up() override;

 private:
  struct Victim {
    EpcPage page{};
    arch::Mfn frame{};
    enum class Fate : u8 { free, stays, goes, fails } fate = Fate::stays;
    PageRecord::Kind kind = PageRecord::Kind::child;
    EpcPage secs{};
    arch::Mfn secs_frame{};
    bool guest_blocked = false;
    SlotName slot{};
    std::optional<Backing::Image> image;  ///< none: what is in it cannot go
    u64 linaddr = 0;
  };

  Pager(Domain domain, Backing backing);

  // ---- pager.cpp
  Need bring(EpcPage page) CLOISTER_REQUIRES(lock_);
  std::optional<arch::Mfn> take_frame() CLOISTER_REQUIRES(lock_);
  /// Frames that pages may have: all free ones, but for one if there is no version array yet.
  bool none_free() const CLOISTER_REQUIRES(lock_) { return free_.size() <= (versions_.pages() == 0 ? 1u : 0u); }
  void free_all() CLOISTER_REQUIRES(lock_);
  void pin_for(EpcPage page, u32 vcpu) CLOISTER_REQUIRES(lock_);
  void settle(PageRecord& record, PageRecord::State state) CLOISTER_REQUIRES(lock_);
  void mark(PageRecord& record, bool recent) CLOISTER_REQUIRES(lock_);

  // ---- load.cpp
  enum class Loaded : u8 { yes, refused };
  Loaded load(EpcPage page, const PageRecord& record, arch::Mfn frame, arch::Mfn secs) CLOISTER_EXCLUDES(lock_);

  // ---- give.cpp
  std::optional<BalloonError> prove_free(arch::Mfn frame);
  void unpin(EpcPage page) CLOISTER_REQUIRES(lock_);

  // ---- evict.cpp
  static constexpr std::size_t batch = 16;
  enum class Frames : u8 { any, lent };
  /// Pages that are mapped, not pinned, and have not been used lately, if there are such; on these frames.
  std::vector<EpcPage> choose(std::size_t most, Frames on = Frames::any, std::span<const vmx::EpcSection> of = {})
      CLOISTER_REQUIRES(lock_);
  /// Takes away of these what can be; how many frames that gave.
  std::size_t evict(std::span<const EpcPage> pages) CLOISTER_REQUIRES(lock_);
  void block(std::span<Victim> victims) CLOISTER_EXCLUDES(lock_);
  void identify(Victim& victim, std::span<const Victim> all) CLOISTER_EXCLUDES(lock_);
  bool find_owner(Victim& victim, EpcPage secs, std::span<const Victim> all) CLOISTER_REQUIRES(lock_);
  void count_child_out(const Victim& victim) CLOISTER_EXCLUDES(lock_);
  void write_out(Victim& victim) CLOISTER_EXCLUDES(lock_);
  void account(const Victim& victim) CLOISTER_REQUIRES(lock_);
  void tend_versions() CLOISTER_REQUIRES(lock_);
  bool has_version_slot() CLOISTER_REQUIRES(lock_);
  /// False: there is no free frame for a version array.
  bool add_versions() CLOISTER_REQUIRES(lock_);

  // ---- early.cpp
  std::size_t hand_out(std::span<EarlyPage> to) CLOISTER_REQUIRES(lock_);
  std::vector<EpcPage> next_of_pass(bool hot) CLOISTER_REQUIRES(lock_);

  // ---- moving.cpp
  Done evict_rest() CLOISTER_REQUIRES(lock_);
  Done uncount_children() CLOISTER_REQUIRES(lock_);
  MovedEpc describe() CLOISTER_REQUIRES(lock_);
  Done expect_page(const MovedPage& moved, SealedPage& image) CLOISTER_REQUIRES(lock_);
  VersionPages::Frames frames() CLOISTER_REQUIRES(lock_);
  /// f(page, record) for each that is not absent.
  template <class F>
  void for_each_record(F f) CLOISTER_REQUIRES(lock_) {
    for (u64 number = 0; number < book_.pages(); ++number) {
      if (book_.find(EpcPage{number}) == nullptr) {
        number |= PageBook::chunk_pages - 1;
        continue;
      }
      PageRecord& record = book_[EpcPage{number}];
      if (record.state != PageRecord::State::absent) f(EpcPage{number}, record);
    }
  }

  // ---- trap.cpp
  void identify_by_book(Victim& victim, std::span<const Victim> all) CLOISTER_EXCLUDES(lock_);

  /// A leaf in root mode, tried until nobody else has what it needs.
  vmx::EnclsResult encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands);
  vmx::EnclsResult enclv(arch::EnclvLeaf leaf, const vmx::LeafOperands& operands);

  vmx::Package& package_;
  vmx::GuestMemory& memory_;
  Gate& gate_;
  Mutex& handlers_;
  RootLeaves& leaves_;
  const PagingMode mode_;
  const u64 least_;  ///< frames that it must have

  mutable Mutex lock_;
  Condition changed_;  ///< a page is not busy any more
  PageBook book_;      // its geometry is constant; its records are the lock's
  Backing backing_;    // the lock's; a busy page's image is its worker's
  VersionPages versions_ CLOISTER_GUARDED_BY(lock_);
  FrameSet held_ CLOISTER_GUARDED_BY(lock_);
  FreeFrames free_ CLOISTER_GUARDED_BY(lock_);
  std::vector<std::vector<EpcPage>> pinned_ CLOISTER_GUARDED_BY(lock_);           ///< by processor, the oldest first
  u64 hand_ CLOISTER_GUARDED_BY(lock_) = 0, eye_ CLOISTER_GUARDED_BY(lock_) = 0;  ///< choose()'s and look()'s next page
  /// Of a pass of leave_early(): the next page that may be evicted, and the next one that may be handed out.
  u64 pass_ CLOISTER_GUARDED_BY(lock_) = 0, handed_ CLOISTER_GUARDED_BY(lock_) = 0;
  u32 evicting_ CLOISTER_GUARDED_BY(lock_) = 0, loading_ CLOISTER_GUARDED_BY(lock_) = 0;
  u32 busy_ CLOISTER_GUARDED_BY(lock_) = 0;  ///< callers who hold records while they wait: forget() waits for them

  std::optional<MovedEpc> moved_ CLOISTER_GUARDED_BY(lock_);  ///< what is out, without its pages' images
  bool moving_ CLOISTER_GUARDED_BY(lock_) = false;            ///< nobody else evicts, nor loads

  PagerCounts own_counts_;
  PagerCounts& counts_;
};

}  // namespace cloister::hypervisor
