// The exit statuses of our programs.
#pragma once

namespace cloister::toolstack {

/// Those of `cloister run`; other verbs have the first three. A run that a signal ended has 128 and the signal's
/// number, one that Ctrl-] ended has that of SIGINT.
namespace exit_status {
inline constexpr int powered_off = 0, failed = 1, bad_configuration = 2, crashed = 3, timed_out = 124, signalled = 128;
}

}  // namespace cloister::toolstack
