// The life of a domain in the daemon: its states, what leads from one to the next, and what may be done in each. Who
// deals with a domain asks what its state allows, and never puts that together from what the domain has.
#pragma once

#include <array>
#include <cassert>
#include <functional>
#include <optional>

#include "arch/types.hpp"

namespace cloister::toolstack {

enum class LifeState : u8 {
  admitted,      ///< it has its record, its name and its frames, and no VMM yet
  launching,     ///< its VMM lays out the guest and is told to run it, and the record says "creating" until that
  running,       ///< the guest may run, which its VMM has confirmed; the record says so
  silent,        ///< its VMM lives and does not answer, or, of one that was found, has not handed over what it holds
  lost,          ///< found as running: whether its VMM lives is not known
  launch_lost,   ///< found as "creating": whether its VMM lives is not known
  launch_stuck,  ///< found as "creating": its VMM was killed, and is not dead yet
  ending,        ///< its VMM is dead, and what it had is taken back
  gone,          ///< nothing is left of it
};

enum class LifeEvent : u8 {
  started,     ///< it has got a VMM
  launched,    ///< its VMM has answered that it runs the guest, and the record says "running"
  held,        ///< of one that was found, the VMM's pidfd is open
  unanswered,  ///< the VMM did not answer in time
  answered,    ///< it answers, and has handed over what it holds
  died,        ///< the VMM is dead, which is proven; or there is none, and will be none
  cleaned,     ///< its frames are free, or withdrawn, and its record is away
};

/// What a state allows.
struct LifeRow {
  LifeState state;
  const char* shown;    ///< what users see; null: what the domain's page says (DomainState)
  bool held;            ///< the VMM's pidfd is open: its death is seen, and it may be killed
  bool takes_requests;  ///< there may be a guest to ask something of
};
inline constexpr std::array life_rows{LifeRow{LifeState::admitted, "creating", false, false},
                                      LifeRow{LifeState::launching, "creating", true, false},
                                      LifeRow{LifeState::running, nullptr, true, true},
                                      LifeRow{LifeState::silent, "unresponsive", true, true},
                                      LifeRow{LifeState::lost, "unresponsive", false, true},
                                      LifeRow{LifeState::launch_lost, "creating", false, false},
                                      LifeRow{LifeState::launch_stuck, "creating", true, false},
                                      LifeRow{LifeState::ending, "ending", false, false},
                                      LifeRow{LifeState::gone, "ended", false, false}};

struct LifeStep {
  LifeState from;
  LifeEvent event;
  LifeState to;
  bool operator==(const LifeStep&) const = default;
};
/// All there are. A domain's first state is `admitted`, or `lost` or `launch_lost` if an earlier daemon left it.
inline constexpr std::array life_steps{LifeStep{LifeState::admitted, LifeEvent::started, LifeState::launching},
                                       LifeStep{LifeState::admitted, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::launching, LifeEvent::launched, LifeState::running},
                                       LifeStep{LifeState::launching, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::running, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::running, LifeEvent::unanswered, LifeState::silent},
                                       LifeStep{LifeState::silent, LifeEvent::answered, LifeState::running},
                                       LifeStep{LifeState::silent, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::lost, LifeEvent::held, LifeState::silent},
                                       LifeStep{LifeState::lost, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::launch_lost, LifeEvent::held, LifeState::launch_stuck},
                                       LifeStep{LifeState::launch_lost, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::launch_stuck, LifeEvent::died, LifeState::ending},
                                       LifeStep{LifeState::ending, LifeEvent::cleaned, LifeState::gone}};

/// Nothing: this cannot happen then.
constexpr std::optional<LifeState> state_after(LifeState state, LifeEvent event) {
  for (const LifeStep& step : life_steps) {
    if (step.from == state && step.event == event) return step.to;
  }
  return std::nullopt;
}

/// Called before each step.
using LifeObserver = std::function<void(LifeState, LifeEvent)>;

/// Thread rules: its owner's.
class Life {
 public:
  explicit Life(LifeState first) : state_(first) {}

  bool is(LifeState state) const { return state_ == state; }
  LifeState state() const { return state_; }
  /// Only what may happen in this state.
  void happens(LifeEvent event) {
    const auto next = state_after(state_, event);
    assert(next);
    state_ = next.value_or(state_);
  }

  const char* shown() const { return row().shown; }
  bool held() const { return row().held; }
  bool takes_requests() const { return row().takes_requests; }
  /// Only the VMM's answer is missing.
  bool lacks_answer() const { return is(LifeState::silent); }
  /// It keeps what it has until it is known whether its VMM lives.
  bool lacks_proof() const { return is(LifeState::lost) || is(LifeState::launch_lost); }
  bool over() const { return is(LifeState::ending) || is(LifeState::gone); }

 private:
  const LifeRow& row() const { return life_rows[static_cast<std::size_t>(state_)]; }
  LifeState state_;
};

}  // namespace cloister::toolstack
