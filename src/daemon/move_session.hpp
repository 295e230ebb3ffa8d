// How a move is called at its target (protocol/moving.hpp). The second half of such a session is the first one's code
// by the secret that is this state folder's alone (HMAC, RFC 2104): who asks at another daemon what became of a move
// must not hear that it has come to nothing.
#pragma once

#include <string>

#include "machine/platform_secret.hpp"

namespace cloister::toolstack {

std::string new_session(const WrapSecret& wrap);
bool is_session_of(const WrapSecret& wrap, const std::string& session);

}  // namespace cloister::toolstack
