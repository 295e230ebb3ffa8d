// The enclave runtime's AES modes: NIST's vectors (SP 800-38B, appendix D.1; SP 800-38D's test cases 1 to 4 of the GCM
// specification).
#include <gtest/gtest.h>

#include <string_view>
#include <vector>

extern "C" {
#include "guest/enclave/runtime/aes.h"
}

#include "arch/types.hpp"

// What the runtime provides inside an enclave.
extern "C" int equal(const void* a, const void* b, size_t size) {
  return std::string_view(static_cast<const char*>(a), size) == std::string_view(static_cast<const char*>(b), size);
}

namespace cloister {
namespace {

using Bytes = std::vector<u8>;

Bytes bytes(std::string_view hex) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<u8>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

TEST(RuntimeAes, Cmac) {
  const Bytes key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
  const Bytes message = bytes(
      "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17"
      "ad2b417be66c3710");
  const std::pair<std::size_t, std::string_view> cases[] = {{0, "bb1d6929e95937287fa37d129b756746"},
                                                            {16, "070a16b46b4d4144f79bdd9dd04a287c"},
                                                            {40, "dfa66747de9ae63030ca32611497c827"},
                                                            {64, "51f0bebf7e3b9d92fc49741779363cfe"}};
  for (const auto& [size, mac] : cases) {
    Bytes made(16);
    aes_cmac(key.data(), message.data(), size, made.data());
    EXPECT_EQ(made, bytes(mac)) << size;
  }
}

TEST(RuntimeAes, Gcm) {
  struct Case {
    std::string_view key, nonce, plain, associated, cipher, tag;
  };
  const std::string_view key = "feffe9928665731c6d6a8f9467308308", nonce = "cafebabefacedbaddecaf888";
  const std::string_view plain =
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
      "ba637b391aafd255";
  const std::string_view cipher =
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
      "3d58e091473f5985";
  const std::string_view zero_key = "00000000000000000000000000000000", zero_nonce = "000000000000000000000000";
  const Case cases[] = {
      {zero_key, zero_nonce, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
      {zero_key, zero_nonce, zero_key, "", "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"},
      {key, nonce, plain, "", cipher, "4d5c2af327cd64a62cf35abd2ba6fab4"},
      {key, nonce, plain.substr(0, 120), "feedfacedeadbeeffeedfacedeadbeefabaddad2", cipher.substr(0, 120),
       "5bc94fbc3221a5db94fae95ae7121a47"},
  };
  for (const Case& c : cases) {
    const Bytes k = bytes(c.key), n = bytes(c.nonce), a = bytes(c.associated);
    Bytes text = bytes(c.plain), tag(16);
    const gcm_text what{a.data(), a.size(), text.data(), text.size()};
    gcm_seal(k.data(), n.data(), &what, tag.data());
    EXPECT_EQ(text, bytes(c.cipher));
    EXPECT_EQ(tag, bytes(c.tag));
    EXPECT_EQ(gcm_open(k.data(), n.data(), &what, tag.data()), 1);
    EXPECT_EQ(text, bytes(c.plain));
    tag[15] ^= 1;
    EXPECT_EQ(gcm_open(k.data(), n.data(), &what, tag.data()), 0);
    EXPECT_EQ(text, Bytes(text.size())) << "a text that does not verify is not shown";
  }
}

}  // namespace
}  // namespace cloister
