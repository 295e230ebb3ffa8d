// Where cloisterd has its folders when nobody says it, and where `cloister` looks for it: root's daemon is the
// machine's, any other one its user's.
#pragma once

#include <string>

namespace cloister::toolstack {

/// /var/lib/cloister; of another user than root $XDG_STATE_HOME/cloisterd, else $HOME/.local/state/cloisterd. Empty:
/// neither is set.
std::string default_daemon_state();

/// /run/cloister; of another user than root $XDG_RUNTIME_DIR/cloister if that folder is the user's, else `run` in the
/// daemon's state. Empty: none of them is set.
std::string default_daemon_run();

/// $CLOISTER_RUN; else the run folder of this user's own daemon, also below /run/user/UID where $XDG_RUNTIME_DIR is not
/// set: the first on whose socket somebody listens, or, where nobody does, the first that has one; else /run/cloister.
std::string find_daemon_run();

}  // namespace cloister::toolstack
