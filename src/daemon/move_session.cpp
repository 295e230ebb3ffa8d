#include "daemon/move_session.hpp"

#include <span>

#include "daemon/hmac.hpp"
#include "protocol/moving.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {

std::string session_of(const WrapSecret& wrap, std::string random) {
  const arch::Bytes32 code = hmac_sha256(wrap.bytes, "cloister move " + random);
  return random + in_hex(std::span(code).first(move_session_length / 4));
}

}  // namespace

std::string new_session(const WrapSecret& wrap) {
  const Secret random = random_secret();
  return session_of(wrap, in_hex(std::span(random).first(move_session_length / 4)));
}

bool is_session_of(const WrapSecret& wrap, const std::string& session) {
  return session == session_of(wrap, session.substr(0, move_session_length / 2));
}

}  // namespace cloister::toolstack
