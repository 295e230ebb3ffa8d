// How the EPC of a package is shared by the domains that see more than they have (epc_min). Each always has its
// minimum. What is left goes where it is used: by weight, and with a tax on pages that nobody uses, as ESX shares
// memory (Waldspurger, "Memory Resource Management in VMware ESX Server", OSDI 2002, section 5: min-funding revocation
// with an idle tax of 75 %).
//
// Values in, values out: no frame moves here.
#pragma once

#include <chrono>
#include <map>
#include <span>
#include <vector>

#include "arch/sizes.hpp"
#include "arch/types.hpp"

namespace cloister::toolstack {

/// Frames move by so many, unless somebody says otherwise.
inline constexpr u64 epc_chunk = arch::pages_per_mib;

/// A domain that shares EPC, in pages.
struct EpcSharer {
  u32 id = 0;
  u64 min = 0, most = 0;
  u64 held = 0;    ///< now
  u64 active = 0;  ///< of these, used of late
  u32 weight = 100;
  bool wants = false;  ///< it would use more
  u64 faults = 0;      ///< since it began: what it paged in or out for want of frames
};

/// What each is to have of `frames`: its minimum and whole chunks, but at most what it sees. Together they are no more
/// than `frames`, if the minima are not; and as much as possible. The same for the same.
std::vector<u64> share_epc(u64 frames, std::span<const EpcSharer> sharers, u64 chunk = epc_chunk);

/// Says what each is to have, tick by tick: who wants more follows from its faults; small changes are not made; and if
/// all want more than there is, nothing moves for a while, since moving would only be more of the same.
class EpcBalance {
 public:
  using Clock = std::chrono::steady_clock;
  explicit EpcBalance(u64 chunk = epc_chunk) : chunk_(chunk) {}
  struct Decision {
    std::vector<u64> targets;  ///< of each sharer
    std::vector<bool> wants;
    bool thrash = false;  ///< from now on: all fault, and nothing can be done about it
  };
  Decision tick(Clock::time_point now, u64 frames, std::vector<EpcSharer> sharers);

  /// Faults a second from which on a domain wants more, and below which it does not any more.
  static constexpr double wants_from = 50, wants_below = 10;
  static constexpr double thrashes_from = 200;
  /// Without faults for so long it wants no more; all fault for so long, and then nothing moves for so long.
  static constexpr std::chrono::seconds quiet{2}, patience{1}, brake{5};
  /// Targets change by so many chunks at least.
  static constexpr u64 hysteresis = 2;

 private:
  struct Seen {
    Clock::time_point when, last_want{};
    u64 faults = 0, target = 0;
    bool wants = false, thrashes = false;
  };
  void look(Clock::time_point now, EpcSharer& sharer);

  u64 chunk_;
  std::map<u32, Seen> seen_;                   ///< by domain
  Clock::time_point frozen_until_{}, calm_{};  ///< calm_: not all thrashed when that was looked at last
  bool thrashing_ = false;
};

/// What moves now to bring each towards its target: to those that want it, or lack of their minimum; and from others as
/// far as that is missing.
struct EpcMove {
  u64 lend = 0, take = 0;  ///< pages; one of them is 0
};
/// free: pages that nobody has; claimed: somebody else waits for so many; coming: they have been asked for already.
std::vector<EpcMove> epc_moves(u64 free, u64 claimed, u64 coming, std::span<const EpcSharer> sharers,
                               const EpcBalance::Decision& decision, u64 chunk = epc_chunk);

}  // namespace cloister::toolstack
