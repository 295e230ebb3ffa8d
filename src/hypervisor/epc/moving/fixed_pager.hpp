// Pages of a domain with a frame for each page that are out of their frames while its guest runs: those that leave
// early in a move, and those that come late (movable_epc.hpp). A page has its frame all the time, which is empty while
// it is out, and comes back into that one. What needs it meanwhile is an EPT violation, as with a pager.
//
// Only children go, so that a SECS is where it was, and counts those that are out as virtual children (SDM vol. 3D,
// 40): that takes OSS, and while a page is out leaves of the guest's that meet the hypervisor's are tried again.
//
// Versions lie in spare frames, as long as there are some (fixed_epc.hpp), and then in frames of pages that are free,
// which are taken while the guest does not need them; a guest that does gets its page back, once all whose versions are
// there have come.
//
// Thread rules: any thread that holds no lock of the machine's, but where it says so. One thread at a time leaves.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/epc/fixed_epc.hpp"
#include "hypervisor/epc/moving/moved_epc.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"

namespace cloister::hypervisor {

class FixedPager {
 public:
  struct Domain {
    vmx::Package& package;
    vmx::GuestMemory& memory;
    const EpcPages& pages;
    FixedEpc& epc;
    Gate& gate;
    Mutex& handlers;  ///< as FixedEpc has it
    RootLeaves& leaves;
    std::function<void(bool)> meet;  ///< from now on leaves of the guest's meet the hypervisor's, or do no more
    bool can = true;                 ///< what it takes is there
  };
  /// A page that is out.
  struct Out {
    MovedPage page{};
    std::unique_ptr<SealedPage> image{};
    bool handed_out = false;
  };
  /// `versions` is its owner's, too, while no processor is in the guest.
  FixedPager(Domain domain, VersionPages& versions) : domain_(std::move(domain)), versions_(versions) {}

  // ---- what the guest does
  /// No page is out, nor its frame lent to versions.
  bool all_here() const { return !any_.load(std::memory_order_acquire); }
  /// With `handlers` held, too: then it stays so.
  bool here(arch::Gpa page) const CLOISTER_EXCLUDES(lock_);
  /// The guest needs the page. It is there when this returns, empty if its image could not be loaded.
  void need(arch::Gpa page) CLOISTER_EXCLUDES(lock_);
  /// It is blocked in its frame, which was not the guest: it could not be written out then.
  bool has_blocked(arch::Gpa page) const CLOISTER_EXCLUDES(lock_);
  void set_blocked(arch::Gpa page, bool blocked) CLOISTER_EXCLUDES(lock_);
  /// These are all there, and stay, while it does that.
  void while_here(std::span<const arch::Gpa> pages, const std::function<void()>& what) CLOISTER_EXCLUDES(lock_);
  /// Nothing was ever in it; what is in frames the caller removes. No processor is in the guest.
  void forget() CLOISTER_EXCLUDES(lock_);

  // ---- fixed_early.cpp: leaving
  void begin() CLOISTER_EXCLUDES(lock_);
  /// Pages that may be in use and were not handed out.
  u64 left() const CLOISTER_EXCLUDES(lock_);
  void begin_pass() CLOISTER_EXCLUDES(lock_);
  std::size_t leave(bool hot, std::span<EarlyPage> to) CLOISTER_EXCLUDES(lock_);
  /// All come back, and it is over.
  void end() CLOISTER_EXCLUDES(lock_);

  // ---- no processor is in the guest, and none is in the middle of an exit
  /// All that are out, as what is left of them is to go, too: no SECS counts them any more, and it has begun nothing.
  std::vector<Out> take_out() CLOISTER_EXCLUDES(lock_);
  /// Of take_out(): the frame of the page is empty, or has an array.
  bool is_taken(arch::Gpa page) const { return taken_.contains(page.value); }
  /// Those have come back, or are late, or never will come.
  void put_back() CLOISTER_EXCLUDES(lock_);
  /// They come when the guest needs them, or by bring_all(). All arrays are in frames of the domain's.
  void come_late(std::vector<Out> pages) CLOISTER_EXCLUDES(lock_);
  bool can_come_late() const { return domain_.can; }

  /// All that come late, unless others are to leave, or until `stop`.
  void bring_all(const std::atomic<bool>& stop) CLOISTER_EXCLUDES(lock_);

 private:
  struct Away {
    enum class State : u8 { busy, out, lent } state = State::busy;
    Out what{};         ///< out
    arch::Mfn frame{};  ///< its own
  };
  struct Victim;
  using Number = u64;  ///< of a page

  static constexpr std::size_t batch = 16;
  static constexpr Number looked_at_once = 64;
  Number number_of(arch::Gpa page) const { return domain_.pages.page_at(page)->number; }
  arch::Gpa address_of(Number page) const { return domain_.pages.address_of(EpcPage{page}); }
  /// Between two looks at that many pages: who needs one of them goes first.
  void let_others() const CLOISTER_REQUIRES(lock_);
  bool is_busy(Number page) const CLOISTER_REQUIRES(lock_);
  bool nothing_busy() const CLOISTER_REQUIRES(lock_) { return busy_ == 0; }
  Away& send_away(Number page, arch::Mfn frame) CLOISTER_REQUIRES(lock_);
  void settle(Away& away, Away::State state) CLOISTER_REQUIRES(lock_);
  void back(Number page) CLOISTER_REQUIRES(lock_);
  /// stays: the caller is one for whom none leaves.
  void bring(Number page, bool stays = false) CLOISTER_REQUIRES(lock_);
  void load(Number page) CLOISTER_REQUIRES(lock_);
  void free_lent(Number page, bool stays) CLOISTER_REQUIRES(lock_);
  void stay(bool stays_already) CLOISTER_REQUIRES(lock_);
  void wait_for_turn() CLOISTER_REQUIRES(lock_);
  void remove_unused() CLOISTER_REQUIRES(lock_);
  void bring_rest(const std::function<bool()>& enough) CLOISTER_REQUIRES(lock_);
  std::optional<arch::Mfn> secs_at(arch::Gpa page);
  vmx::EnclsResult encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands);
  void enclv(arch::EnclvLeaf leaf, arch::Mfn secs, arch::Mfn child);

  // ---- fixed_early.cpp
  std::size_t hand_out(std::span<EarlyPage> to) CLOISTER_REQUIRES(lock_);
  std::vector<Number> next_of_pass(bool hot) CLOISTER_REQUIRES(lock_);
  bool is_child(arch::Mfn frame, std::optional<arch::Gpa>* secs, bool* free);
  bool lend_one() CLOISTER_REQUIRES(lock_);
  void evict(std::span<const Number> pages) CLOISTER_REQUIRES(lock_);
  void block(std::span<Victim> victims) CLOISTER_EXCLUDES(lock_);
  void write_out(Victim& victim) CLOISTER_EXCLUDES(lock_);

  const Domain domain_;
  VersionPages& versions_;
  mutable Mutex lock_;
  Condition changed_;
  std::unordered_map<Number, Away> away_ CLOISTER_GUARDED_BY(lock_);
  std::atomic<bool> any_{false};
  mutable std::atomic<u32> wanting_{0};  ///< callers that wait for the lock, or are about to
  std::unordered_set<Number> blocked_ CLOISTER_GUARDED_BY(lock_);
  u32 busy_ CLOISTER_GUARDED_BY(lock_) = 0;        ///< records that are
  u32 stay_ CLOISTER_GUARDED_BY(lock_) = 0;        ///< callers for whom none leaves
  bool waits_ CLOISTER_GUARDED_BY(lock_) = false;  ///< who evicts, for them
  bool evicting_ CLOISTER_GUARDED_BY(lock_) = false;
  bool leaving_ CLOISTER_GUARDED_BY(lock_) = false, filling_ CLOISTER_GUARDED_BY(lock_) = false;
  bool taken_out_ CLOISTER_GUARDED_BY(lock_) = false;  ///< arrays are its owner's alone
  /// Of a pass: frames that may be in use, pages that were found free, the next one that may leave, that may be handed
  /// out, and that may be lent.
  std::vector<vmx::EpcSection> touched_ CLOISTER_GUARDED_BY(lock_);
  std::vector<bool> free_ CLOISTER_GUARDED_BY(lock_);
  Number pass_ CLOISTER_GUARDED_BY(lock_) = 0, handed_ CLOISTER_GUARDED_BY(lock_) = 0;
  Number lent_ CLOISTER_GUARDED_BY(lock_) = 0;
  std::unordered_set<u64> taken_;  ///< by its address
};

}  // namespace cloister::hypervisor
