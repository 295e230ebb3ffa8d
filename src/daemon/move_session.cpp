#include "daemon/move_session.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>
#include <cstdlib>

#include "protocol/moving.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {

std::string session_of(const WrapSecret& wrap, std::string random) {
  const std::string text = "cloister move " + random;
  std::array<u8, SHA256_DIGEST_LENGTH> code{};
  unsigned bytes = 0;
  if (HMAC(EVP_sha256(), wrap.bytes.data(), static_cast<int>(wrap.bytes.size()),
           reinterpret_cast<const u8*>(text.data()), text.size(), code.data(), &bytes) == nullptr)
    std::abort();  // for want of memory
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
