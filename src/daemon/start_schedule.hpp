// In which order domains are started since the host came up, and when: a pure function over time. Each is tried once in
// its order, and after one with a delay the next one waits; those that failed are tried again when their restart policy
// says (plan/restarts.hpp), and not before all have been tried once. Orders, delays and how many start together are
// each user's own, so that nobody's domains wait for another's.
//
// Thread rules: its owner's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plan/restarts.hpp"

namespace cloister::toolstack {

/// A domain that is to be started since the host came up.
struct PendingStart {
  std::string uuid, name;
  u32 order = 0, delay_seconds = 0, restart_limit = 0, restart_window = 0;
  unsigned user = 0;  ///< its owner
};

/// Of one user's.
class StartSchedule {
 public:
  using Time = Restarts::Clock::time_point;

  /// In their order; none is tried for the first time before `gate`.
  explicit StartSchedule(const std::vector<PendingStart>& all, Time gate = {});

  std::size_t size() const { return all_.size(); }
  /// The next one to be started, which is under way from now on; none: not now.
  std::optional<PendingStart> next(Time now);
  /// When there may be one, if nothing ends before; none: not before something ends.
  std::optional<Time> next_time() const;
  /// One that was under way has been started: when the next one may be tried for the first time.
  Time started(const std::string& uuid, Time now);
  /// It could not be.
  /// False: it is not tried again.
  bool failed(const std::string& uuid, Time now);
  /// It was not the time to start anything: as if it had not been tried.
  void held(const std::string& uuid);
  /// None is left that is under way, or will be.
  bool done() const;

 private:
  enum class State : u8 { fresh, first_try, waiting, next_try, over };
  struct One {
    PendingStart what;
    Restarts restarts;
    State state = State::fresh;
    Time due{};  ///< while it waits
  };
  One& one(const std::string& uuid);
  /// None waits for its first try.
  bool all_tried() const;
  /// The first that was never tried, unless one that is under way must be started before.
  const One* fresh() const;

  std::vector<One> all_;
  Time gate_{};  ///< before it nothing is tried for the first time
};

/// Of all users'.
class StartSchedules {
 public:
  using Time = StartSchedule::Time;

  /// In their order, of whichever user. at_once: so many of one user's are under way together. gates: of users whose
  /// domains wait for a delay that an earlier daemon began.
  StartSchedules(const std::vector<PendingStart>& all, u32 at_once, const std::map<unsigned, Time>& gates = {});

  /// How many can be under way together.
  std::size_t most() const;
  // As those of StartSchedule; users take turns.
  std::optional<PendingStart> next(Time now);
  std::optional<Time> next_time() const;
  Time started(const PendingStart& what, Time now);
  bool failed(const PendingStart& what, Time now);
  void held(const PendingStart& what);
  bool done() const;

 private:
  struct OfUser {
    StartSchedule schedule;
    u32 under_way = 0;
  };
  StartSchedule& ended(const PendingStart& what);

  const u32 at_once_;
  std::map<unsigned, OfUser> users_;
  unsigned last_ = 0;  ///< whose turn it was
};

}  // namespace cloister::toolstack
