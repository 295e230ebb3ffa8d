#include "daemon/hmac.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>

namespace cloister::toolstack {

arch::Bytes32 hmac_sha256(std::span<const u8> key, std::string_view text) {
  arch::Bytes32 code{};
  unsigned bytes = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const u8*>(text.data()),
           text.size(), code.data(), &bytes) == nullptr ||
      bytes != code.size())
    std::abort();  // for want of memory
  return code;
}

}  // namespace cloister::toolstack
