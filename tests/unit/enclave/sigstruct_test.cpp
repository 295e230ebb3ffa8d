// SIGSTRUCT: what is signed, by which key, and that no changed bit passes.
#include "enclave/sigstruct.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstring>

#include "enclave/describe.hpp"
#include "enclave/measure.hpp"
#include "known_enclaves.hpp"

namespace cloister::enclave {
namespace {

using ::testing::HasSubstr;

const SigningKey& key() {
  static const Result<SigningKey> made = SigningKey::generate();
  return *made;
}
arch::Bytes32 hash() {
  arch::Bytes32 bytes{};
  for (std::size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<u8>(i + 1);
  return bytes;
}
arch::Sigstruct made(const Settings& settings = {}) {
  const auto structure = sign(hash(), settings, key());
  EXPECT_TRUE(structure) << structure.error();
  return *structure;
}
std::string error_of(const arch::Sigstruct& structure) {
  const auto good = check(structure);
  return good ? "" : good.error();
}

// SDM vol. 3D, 35.14 and table 35-22.
TEST(Sigstruct, HoldsWhatItsAuthorSays) {
  Settings settings{.miscselect = 1, .isvprodid = 7, .isvsvn = 9, .date = 0x20260131};
  settings.attributes.flags |= arch::attributes::debug | arch::attributes::kss;
  settings.isvfamilyid[0] = 0xfa;
  settings.isvextprodid[15] = 0xed;
  const arch::Sigstruct s = made(settings);
  EXPECT_EQ(s.header, arch::sigstruct_header);
  EXPECT_EQ(s.header2, arch::sigstruct_header2);
  EXPECT_EQ(s.vendor, 0u);
  EXPECT_EQ(s.date, 0x20260131u);
  EXPECT_EQ(s.exponent, 3u);
  EXPECT_EQ(s.enclavehash, hash());
  EXPECT_EQ(s.attributes, (arch::Attributes{0x86, 3}));
  EXPECT_EQ(s.attributemask, (arch::Attributes{~u64{0}, ~u64{0}}));
  EXPECT_EQ(s.miscselect, 1u);
  EXPECT_EQ(s.miscmask, 0xffff'ffffu);
  EXPECT_EQ(s.isvprodid, 7u);
  EXPECT_EQ(s.isvsvn, 9u);
  EXPECT_EQ(s.isvfamilyid[0], 0xfa);
  EXPECT_EQ(s.isvextprodid[15], 0xed);
  EXPECT_EQ(s.modulus, key().modulus());
  EXPECT_EQ(mrsigner(s), sha256(key().modulus()));
  EXPECT_EQ(error_of(s), "");
}

// Everything but the free field SWDEFINED, which is signed too.
TEST(Sigstruct, NoFlippedBitPasses) {
  const arch::Sigstruct good = made();
  for (std::size_t byte = 0; byte < sizeof good; byte++) {
    arch::Sigstruct bad = good;
    reinterpret_cast<u8*>(&bad)[byte] ^= static_cast<u8>(1 << byte % 8);
    EXPECT_NE(error_of(bad), "") << "byte " << byte;
  }
}

TEST(Sigstruct, SaysWhatIsWrong) {
  const arch::Sigstruct good = made();
  arch::Sigstruct bad = good;
  bad.header2[15] = 1;
  EXPECT_THAT(error_of(bad), HasSubstr("header"));
  bad = good;
  bad.vendor = 1;
  EXPECT_THAT(error_of(bad), HasSubstr("vendor"));
  bad = good;
  bad.exponent = 65537;
  EXPECT_THAT(error_of(bad), HasSubstr("exponent"));
  bad = good;
  bad.reserved4[0] = 1;
  EXPECT_THAT(error_of(bad), HasSubstr("reserved"));
  bad = good;
  bad.enclavehash[0] ^= 1;
  EXPECT_THAT(error_of(bad), HasSubstr("signature is wrong"));
  bad = good;
  bad.q2[0] ^= 1;
  EXPECT_THAT(error_of(bad), HasSubstr("Q1 or Q2"));
  bad = good;
  bad.signature = good.modulus;
  EXPECT_THAT(error_of(bad), HasSubstr("not below"));
  bad = good;
  bad.modulus = {};
  EXPECT_THAT(error_of(bad), HasSubstr("modulus"));
}

TEST(Sigstruct, ExtendedIdentityNeedsKss) {
  Settings settings;
  settings.isvextprodid[0] = 1;
  EXPECT_FALSE(sign(hash(), settings, key()));
}

TEST(Sigstruct, BytesRoundTrip) {
  const arch::Sigstruct structure = made();
  const auto bytes = bytes_of(structure);
  const auto again = read_sigstruct(bytes);
  ASSERT_TRUE(again);
  EXPECT_EQ(std::memcmp(&*again, &structure, sizeof structure), 0);
  EXPECT_FALSE(read_sigstruct(bytes.first(1807)));
}

std::string pem_of(const char* kind, std::size_t bits) {
  EVP_PKEY* made_key = std::strcmp(kind, "RSA") == 0 ? EVP_PKEY_Q_keygen(nullptr, nullptr, kind, bits)
                                                     : EVP_PKEY_Q_keygen(nullptr, nullptr, kind, "P-256");
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, made_key, nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  std::string pem(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  EVP_PKEY_free(made_key);
  return pem;
}
std::string key_error(std::string_view pem) {
  const auto read = SigningKey::from_pem(pem);
  return read ? "" : read.error();
}

TEST(SigningKey, RoundTripThroughPem) {
  const auto pem = key().to_pem();
  ASSERT_TRUE(pem);
  const auto again = SigningKey::from_pem(*pem);
  ASSERT_TRUE(again) << again.error();
  EXPECT_EQ(again->modulus(), key().modulus());
}

TEST(SigningKey, OnlyThoseThatEinitTakes) {
  EXPECT_THAT(key_error("nonsense"), HasSubstr("not a private key"));
  EXPECT_THAT(key_error(pem_of("EC", 0)), HasSubstr("not an RSA key of 3072 bits"));
  EXPECT_THAT(key_error(pem_of("RSA", 2048)), HasSubstr("not an RSA key of 3072 bits"));
  EXPECT_THAT(key_error(pem_of("RSA", 3072)), HasSubstr("exponent is not 3"));
}

TEST(Sigstruct, ChecksOnesFromTheField) {
  // MRSIGNER of the launch enclave is what IA32_SGXLEPUBKEYHASH holds after reset.
  const std::string reset = "acb77012053e05a63d413b8bbae8fb6c5d73b3f2996d91c43bbbf90959c0f8d4";
  const std::pair<const char*, std::string> files[] = {
      {"test_enclave.sig", "fb4bab3d6036ac1d730fa83d7366df1dd2dfeac194ef335d6854d8a6c6475542"},
      {"le_prod_css.14f08846.bin", reset},
      {"le_prod_css.fab62ba6.bin", reset},
  };
  for (const auto& [name, signer] : files) {
    const auto file = known_enclave(name);
    if (!file) GTEST_SKIP() << "needs " << known_enclaves << name;
    const auto structure = read_sigstruct(*file);
    ASSERT_TRUE(structure) << structure.error();
    EXPECT_EQ(error_of(*structure), "") << name;
    EXPECT_EQ(hex(mrsigner(*structure)), signer);
  }
}

}  // namespace
}  // namespace cloister::enclave
