// AES-CMAC by RFC 4493's vectors (which are SP 800-38B's), and the platform's key derivation.
#include <gtest/gtest.h>

#include <set>

#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/keys/platform_keys.hpp"

namespace cloister::silicon {
namespace {

using arch::Bytes16;

std::vector<u8> hex(std::string_view text) {
  std::vector<u8> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<u8>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}
Bytes16 block(std::string_view text) {
  Bytes16 b{};
  std::ranges::copy(hex(text), b.begin());
  return b;
}

TEST(SgxCmac, Rfc4493) {
  const Bytes16 key = block("2b7e151628aed2a6abf7158809cf4f3c");
  const auto message =
      hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
          "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
  const struct {
    std::size_t bytes;
    const char* mac;
  } vectors[] = {{0, "bb1d6929e95937287fa37d129b756746"},
                 {16, "070a16b46b4d4144f79bdd9dd04a287c"},
                 {40, "dfa66747de9ae63030ca32611497c827"},
                 {64, "51f0bebf7e3b9d92fc49741779363cfe"}};
  for (const auto& v : vectors) EXPECT_EQ(aes_cmac(key, std::span(message).first(v.bytes)), block(v.mac)) << v.bytes;
}

TEST(SgxCmac, Comparison) {
  Bytes16 a{1}, b{1};
  EXPECT_TRUE(same_mac(a, b));
  b[15] = 1;
  EXPECT_FALSE(same_mac(a, b));
}

constexpr RootSecret root{7};

TEST(SgxPlatformKeys, EveryDependencyChangesTheKey) {
  const PlatformKeys keys(root, 1);
  std::set<Bytes16> seen{keys.derive({})};
  std::size_t fields = 1;
  const auto with = [&](auto change) {
    KeyDependencies d;
    change(d);
    seen.insert(keys.derive(d));
    ++fields;
  };
  using D = KeyDependencies;
  with([](D& d) { d.keyname = 1; });
  with([](D& d) { d.keypolicy = 1; });
  with([](D& d) { d.isvprodid = 1; });
  with([](D& d) { d.isvsvn = 1; });
  with([](D& d) { d.configsvn = 1; });
  with([](D& d) { d.cet_attributes = 1; });
  with([](D& d) { d.cet_attributes_mask = 1; });
  with([](D& d) { d.miscselect = 1; });
  with([](D& d) { d.miscmask = 1; });
  with([](D& d) { d.cpusvn[15] = 1; });
  with([](D& d) { d.isvextprodid[0] = 1; });
  with([](D& d) { d.isvfamilyid[0] = 1; });
  with([](D& d) { d.ownerepoch[0] = 1; });
  with([](D& d) { d.seal_fuses[0] = 1; });
  with([](D& d) { d.attributes.flags = 1; });
  with([](D& d) { d.attributes.xfrm = 1; });
  with([](D& d) { d.attributesmask.flags = 1; });
  with([](D& d) { d.attributesmask.xfrm = 1; });
  with([](D& d) { d.mrenclave[31] = 1; });
  with([](D& d) { d.mrsigner[31] = 1; });
  with([](D& d) { d.keyid[31] = 1; });
  with([](D& d) { d.configid[63] = 1; });
  with([](D& d) { d.padding[351] = 1; });
  EXPECT_EQ(seen.size(), fields);
}

TEST(SgxPlatformKeys, FollowFromTheRootSecretAndTheBoot) {
  const PlatformKeys keys(root, 1), again(root, 1), next_boot(root, 2), other({8}, 1);
  EXPECT_EQ(keys.derive({}), again.derive({}));
  EXPECT_EQ(keys.paging_key(), again.paging_key());
  // Sealed data outlives a power cycle; evicted pages and reports do not.
  EXPECT_EQ(keys.derive({}), next_boot.derive({}));
  EXPECT_EQ(keys.ownerepoch(), next_boot.ownerepoch());
  EXPECT_EQ(keys.seal_fuses(), next_boot.seal_fuses());
  EXPECT_NE(keys.paging_key(), next_boot.paging_key());
  EXPECT_NE(keys.report_keyid(), next_boot.report_keyid());

  EXPECT_NE(keys.derive({}), other.derive({}));
  EXPECT_NE(keys.ownerepoch(), other.ownerepoch());
  EXPECT_NE(keys.seal_fuses(), other.seal_fuses());
  EXPECT_NE(keys.paging_key(), other.paging_key());
  const std::set<Bytes16> distinct{keys.ownerepoch(), keys.seal_fuses(), keys.paging_key(), keys.derive({})};
  EXPECT_EQ(distinct.size(), 4u);
}

TEST(SgxPlatformKeys, CpusvnIsComparedByComponent) {
  const PlatformKeys keys(root, 1);
  EXPECT_TRUE(keys.supports_cpusvn(keys.cpusvn()));
  EXPECT_TRUE(keys.supports_cpusvn({}));
  for (std::size_t i = 0; i < 16; ++i) {
    Bytes16 beyond = keys.cpusvn();
    ++beyond[i];
    EXPECT_FALSE(keys.supports_cpusvn(beyond)) << i;
  }
}

TEST(SgxPlatformKeys, CountersNeverRepeat) {
  PlatformKeys keys(root, 1);
  EXPECT_NE(keys.next_version(), 0u);
  EXPECT_NE(keys.next_version(), keys.next_version());
  EXPECT_NE(keys.next_eid(), keys.next_eid());
}

TEST(SgxPlatformKeys, PaddingIsTheManualsConstant) {
  // SDM vol. 3D, EGETKEY: HARDCODED_PKCS1_5_PADDING.
  const auto& p = signature_padding();
  EXPECT_EQ(p[0], 0x00);
  EXPECT_EQ(p[1], 0x01);
  for (std::size_t i = 2; i < 332; ++i) ASSERT_EQ(p[i], 0xff) << i;
  const auto tail = hex("003031300d060960864801650304020105000420");
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), p.begin() + 332, p.end()));
}

TEST(SgxPlatformKeys, MembersOfAGroupShareAllButThePagingKey) {
  constexpr RootSecret one{1}, other{2};
  const PlatformKeys alone(root, 1), first(root, one, 1), second(root, other, 1), again(root, one, 2);
  for (const PlatformKeys* const keys : {&first, &second, &again}) {
    EXPECT_EQ(keys->derive({.keyname = 4}), alone.derive({.keyname = 4}));
    EXPECT_EQ(keys->ownerepoch(), alone.ownerepoch());
    EXPECT_EQ(keys->seal_fuses(), alone.seal_fuses());
    EXPECT_EQ(keys->cpusvn(), alone.cpusvn());
  }
  EXPECT_EQ(std::set({alone.paging_key(), first.paging_key(), second.paging_key(), again.paging_key()}).size(), 4u);
}

}  // namespace
}  // namespace cloister::silicon
