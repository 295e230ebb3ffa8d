// The surplus is dealt out chunk by chunk to whoever pays most for the next one.
#include "machine/epc/balance.hpp"

#include <algorithm>
#include <cassert>
#include <queue>

namespace cloister::toolstack {
namespace {

/// A page that is not used counts as so many that are: 1 / (1 - 75 %).
constexpr u64 idle_price = 4;

/// What a domain's pages cost it. Of one that wants more all would be used.
u64 cost(const EpcSharer& sharer, u64 pages) {
  const u64 used = sharer.wants ? pages : std::min(sharer.active, pages);
  return used + idle_price * (pages - used);
}

}  // namespace

std::vector<u64> share_epc(u64 frames, std::span<const EpcSharer> sharers, u64 chunk) {
  std::vector<u64> targets;
  u64 minima = 0;
  for (const EpcSharer& sharer : sharers) {
    targets.push_back(sharer.min);
    minima += sharer.min;
  }
  const auto next_of = [&](std::size_t i) { return std::min(chunk, sharers[i].most - targets[i]); };
  // Of two the one whose weight pays more for each page with the next chunk is before the other.
  const auto behind = [&](std::size_t a, std::size_t b) {
    const auto pays = [&](std::size_t one, std::size_t other) {
      return static_cast<unsigned __int128>(sharers[one].weight) *
             cost(sharers[other], targets[other] + next_of(other));
    };
    const auto mine = pays(a, b), theirs = pays(b, a);
    return mine != theirs ? mine < theirs : sharers[a].id > sharers[b].id;
  };
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(behind)> next(behind);
  for (std::size_t i = 0; i < sharers.size(); ++i) {
    if (targets[i] < sharers[i].most) next.push(i);
  }
  for (u64 left = frames > minima ? frames - minima : 0; !next.empty();) {
    const std::size_t i = next.top();
    next.pop();
    const u64 some = next_of(i);
    if (some > left) continue;
    left -= some;
    targets[i] += some;
    if (targets[i] < sharers[i].most) next.push(i);
  }
  return targets;
}

void EpcBalance::look(Clock::time_point now, EpcSharer& sharer) {
  Seen& seen = seen_.try_emplace(sharer.id, Seen{.when = now, .faults = sharer.faults}).first->second;
  if (now > seen.when) {
    const u64 more = sharer.faults > seen.faults ? sharer.faults - seen.faults : 0;
    const double rate = static_cast<double>(more) / std::chrono::duration<double>(now - seen.when).count();
    if (rate >= wants_from) seen.wants = true;
    if (rate >= wants_below) seen.last_want = now;
    if (now - seen.last_want > quiet) seen.wants = false;
    seen.thrashes = rate >= thrashes_from;
    seen.when = now;
    seen.faults = sharer.faults;
  }
  sharer.wants = seen.wants;
}

EpcBalance::Decision EpcBalance::tick(Clock::time_point now, u64 frames, std::vector<EpcSharer> sharers) {
  std::erase_if(seen_, [&](const auto& entry) {
    return std::ranges::find(sharers, entry.first, &EpcSharer::id) == sharers.end();
  });
  Decision decision;
  bool all_thrash = !sharers.empty(), fits = true, settled = true;
  u64 kept = 0;
  for (EpcSharer& sharer : sharers) {
    look(now, sharer);
    const Seen& seen = seen_.at(sharer.id);
    decision.wants.push_back(seen.wants);
    // Who has all that it sees thrashes by itself, which nobody's frames can help.
    all_thrash = all_thrash && seen.thrashes && sharer.held < sharer.most;
    // A target from before is one still: not if it is new, or its limits are others.
    fits = fits && seen.target >= sharer.min && seen.target <= sharer.most;
    settled = settled && sharer.held + chunk_ > seen.target && sharer.held < seen.target + chunk_;
    kept += seen.target;
  }
  fits = fits && kept <= frames;
  if (!fits || !settled || !all_thrash) calm_ = now;
  if (now - calm_ >= patience && now >= frozen_until_) {
    decision.thrash = !thrashing_;
    thrashing_ = true;
    frozen_until_ = now + brake;
  } else if (now >= frozen_until_) {
    thrashing_ = false;
  }

  const std::vector<u64> fair = share_epc(frames, sharers, chunk_);
  std::vector<u64> calm;
  u64 sum = 0;
  for (std::size_t i = 0; i < sharers.size(); ++i) {
    const u64 before = seen_.at(sharers[i].id).target, change = fair[i] > before ? fair[i] - before : before - fair[i];
    const bool keeps = fits && (change < hysteresis * chunk_ || now < frozen_until_);
    calm.push_back(keeps ? before : fair[i]);
    sum += calm.back();
  }
  decision.targets = sum <= frames ? calm : fair;
  for (std::size_t i = 0; i < sharers.size(); ++i) seen_.at(sharers[i].id).target = decision.targets[i];
  return decision;
}

std::vector<EpcMove> epc_moves(u64 free, u64 claimed, u64 coming, std::span<const EpcSharer> sharers,
                               const EpcBalance::Decision& decision, u64 chunk) {
  std::vector<EpcMove> moves(sharers.size());
  std::vector<u64> lacks;
  u64 missing = claimed > free ? claimed - free : 0, available = free > claimed ? free - claimed : 0;
  for (std::size_t i = 0; i < sharers.size(); ++i) {
    const u64 goal = decision.wants[i] ? decision.targets[i] : sharers[i].min;
    lacks.push_back(goal > sharers[i].held ? goal - sharers[i].held : 0);
  }
  for (bool more = true; more && available != 0;) {
    more = false;
    for (std::size_t i = 0; i < sharers.size(); ++i) {
      const u64 some = std::min({lacks[i] - moves[i].lend, chunk, available});
      moves[i].lend += some;
      available -= some;
      more = more || some != 0;
    }
  }
  for (std::size_t i = 0; i < sharers.size(); ++i) missing += lacks[i] - moves[i].lend;
  missing -= std::min(missing, coming);
  std::vector<std::size_t> order;
  const auto excess = [&](std::size_t i) {
    return sharers[i].held > decision.targets[i] ? sharers[i].held - decision.targets[i] : 0;
  };
  for (std::size_t i = 0; i < sharers.size(); ++i) order.push_back(i);
  std::ranges::stable_sort(order, std::ranges::greater{}, excess);
  for (const std::size_t i : order) {
    moves[i].take = std::min(excess(i), missing);
    missing -= moves[i].take;
  }
  return moves;
}

}  // namespace cloister::toolstack
