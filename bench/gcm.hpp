// Raw AES-128-GCM over pages, which is what sealing and opening them cannot be had for less: by contexts that know
// their key already, so that what changes from page to page is the initialisation vector.
#pragma once

#include <openssl/evp.h>

#include <memory>

#include "arch/types.hpp"

namespace cloister::bench {

class Gcm {
 public:
  static constexpr u64 tag_bytes = 16;

  Gcm();
  void seal(u64 version, const u8* page, u8* sealed, u8* tag);
  /// Ends the program if the tag is another page's.
  void open(u64 version, u8* page, const u8* sealed, const u8* tag);

 private:
  struct Free {
    void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> seal_, open_;
};

}  // namespace cloister::bench
