// In which order domains are started since the host came up, and when: a pure function over time. Each is started once
// in its order, and after one with a delay the next one waits; those that failed are tried again when their restart
// policy says (plan/restarts.hpp), beside the rest.
//
// Thread rules: its owner's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/restarts.hpp"

namespace cloister::toolstack {

/// A domain that is to be started since the host came up.
struct PendingStart {
  std::string uuid, name;
  u32 order = 0, delay_seconds = 0, restart_limit = 0, restart_window = 0;
};

class StartSchedule {
 public:
  using Time = Restarts::Clock::time_point;

  /// In their order.
  explicit StartSchedule(const std::vector<PendingStart>& all);

  std::size_t size() const { return all_.size(); }
  /// The next one to be started, which is under way from now on; none: not now.
  std::optional<std::string> next(Time now);
  /// When there may be one, if nothing ends before; none: not before something ends.
  std::optional<Time> next_time() const;
  /// One that was under way has been started, or could not be.
  void started(const std::string& uuid, Time now);
  /// False: it is not tried again.
  bool failed(const std::string& uuid, Time now);
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
  /// The first that was never tried, unless one that is under way must be started before.
  const One* fresh() const;

  std::vector<One> all_;
  Time gate_{};  ///< before it nothing is tried for the first time
};

}  // namespace cloister::toolstack
