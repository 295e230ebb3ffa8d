// SIGSTRUCT's signature (SDM vol. 3D, 36.4.2 and EINIT), with signatures from the field and of our own making.
#include <gtest/gtest.h>

#include "arch/msr.hpp"
#include "silicon/sgx/leaves/sigstruct.hpp"
#include "unit/silicon/sgx_shared.hpp"
#include "unit/silicon/sgx_signer.hpp"

namespace cloister::silicon {
namespace {

arch::Sigstruct good() {
  arch::Sigstruct s = SgxSigner::unsigned_for({1, 2, 3});
  SgxSigner::instance().sign(s);
  return s;
}

TEST(SgxSigstruct, OwnSignatureVerifies) {
  const arch::Sigstruct s = good();
  EXPECT_TRUE(well_formed(s));
  EXPECT_TRUE(signature_valid(s));
}

/// Offsets of a byte in each field whose change must break the signature.
TEST(SgxSigstruct, EverySignedFieldCounts) {
  const arch::Sigstruct s = good();
  const auto flipped_is_valid = [&](std::size_t at) {
    arch::Sigstruct bad = s;
    reinterpret_cast<u8*>(&bad)[at] ^= 1;
    return signature_valid(bad);
  };
  for (const std::size_t at :
       {0, 16, 20, 24, 40, 44, 127, 900, 904, 908, 912, 928, 936, 944, 960, 991, 1008, 1024, 1026}) {
    EXPECT_FALSE(flipped_is_valid(at)) << at;
  }
  // The key, the signature and its quotients.
  for (const std::size_t at : {128, 511, 516, 899, 1040, 1423, 1424, 1807}) EXPECT_FALSE(flipped_is_valid(at)) << at;
  // The rest is not signed.
  EXPECT_TRUE(flipped_is_valid(1028));
}

TEST(SgxSigstruct, FixedAndReservedFields) {
  const arch::Sigstruct s = good();
  for (const std::size_t at : {0, 15, 16, 24, 39, 44, 127, 512, 910, 911, 992, 1007, 1028, 1039}) {
    arch::Sigstruct bad = s;
    reinterpret_cast<u8*>(&bad)[at] ^= 1;
    EXPECT_FALSE(well_formed(bad)) << at;
  }
  arch::Sigstruct intel = s;
  intel.vendor = 0x8086;
  EXPECT_TRUE(well_formed(intel));
  intel.swdefined = intel.date = 0xffff'ffff;
  EXPECT_TRUE(well_formed(intel));
}

TEST(SgxSigstruct, DegenerateKeysAreRefused) {
  arch::Sigstruct s = good();
  s.modulus = {};
  EXPECT_FALSE(signature_valid(s));
  s.modulus[0] = 1;
  EXPECT_FALSE(signature_valid(s));
  s = {};
  EXPECT_FALSE(signature_valid(s));
  s.modulus.fill(0xff);
  s.signature = s.q1 = s.q2 = s.modulus;
  EXPECT_FALSE(signature_valid(s));
}

TEST(SgxSigstruct, EnclaveFromTheField) {
  const auto bytes = read_shared("test_enclave.sig");
  CLOISTER_SKIP_WITHOUT(bytes, "test_enclave.sig");
  arch::Sigstruct s = sigstruct_from(bytes);
  EXPECT_TRUE(well_formed(s));
  EXPECT_TRUE(signature_valid(s));
  s.enclavehash[31] ^= 0x80;
  EXPECT_FALSE(signature_valid(s));
}

TEST(SgxSigstruct, IntelsLaunchEnclaveIsSignedByTheResetValueOfLepubkeyhash) {
  for (const char* const name : {"le_prod_css.14f08846.bin", "le_prod_css.fab62ba6.bin"}) {
    const auto bytes = read_shared(name);
    CLOISTER_SKIP_WITHOUT(bytes, name);
    const arch::Sigstruct s = sigstruct_from(bytes);
    EXPECT_TRUE(well_formed(s)) << name;
    EXPECT_TRUE(signature_valid(s)) << name;
    const arch::Bytes32 signer = mrsigner_of(s);
    EXPECT_EQ(std::memcmp(signer.data(), arch::msr::intel_lepubkeyhash.data(), signer.size()), 0) << name;
  }
}

}  // namespace
}  // namespace cloister::silicon
