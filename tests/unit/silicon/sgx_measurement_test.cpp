// MRENCLAVE's arithmetic (SDM vol. 3D, 36.4.1) against SHA-256 in one piece, and against an enclave from the field.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "silicon/sgx/leaves/measurement.hpp"
#include "unit/silicon/sgx_shared.hpp"

namespace cloister::silicon {
namespace {

arch::Bytes32 reference(std::span<const u8> bytes) {
  arch::Bytes32 digest{};
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr);
  return digest;
}

TEST(SgxMeasurement, StartsWithTheInitialValueOfFips180) {
  const Measurement m = Measurement::start();
  EXPECT_EQ(m.chain[0], 0x6a);
  EXPECT_EQ(m.chain[1], 0x09);
  EXPECT_EQ(m.chain[31], 0x19);
  EXPECT_EQ(m.finish(), reference({}));
}

TEST(SgxMeasurement, AnyDivisionIntoBlocksGivesTheSameDigest) {
  std::vector<u8> text(64 * 37);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<u8>(i * 7 + i / 256);
  for (const std::size_t step : {64u, 128u, 256u, 64u * 37}) {
    Measurement m = Measurement::start();
    for (std::size_t at = 0; at < text.size(); at += step) {
      m.update(std::span(text).subspan(at, std::min(step, text.size() - at)));
    }
    EXPECT_EQ(m.blocks, 37u);
    EXPECT_EQ(m.finish(), reference(text)) << step;
  }
}

TEST(SgxMeasurement, LongMessagesCarryTheirLengthPastFourGibibits) {
  Measurement m{{}, (u64{1} << 32) / 512 - 1};
  Measurement longer = m;
  longer.blocks += u64{1} << 32;
  EXPECT_NE(m.finish(), longer.finish());
}

TEST(SgxMeasurement, RecordsAreTheManualsBlocks) {
  // SDM vol. 3D, ECREATE, EADD, EEXTEND: TMPUPDATEFIELD.
  std::vector<u8> text;
  const auto block = [&](std::string_view name, auto... fields) {
    std::array<u8, 64> b{};
    std::copy(name.begin(), name.end(), b.begin());
    const auto put = [&](std::pair<std::size_t, u64> f, std::size_t bytes) {
      std::memcpy(&b[f.first], &f.second, bytes);
    };
    (put(fields, 8), ...);
    text.insert(text.end(), b.begin(), b.end());
  };
  using Field = std::pair<std::size_t, u64>;
  block("ECREATE", Field{8, 3}, Field{12, 0x40000});
  block("EADD", Field{8, 0x5000}, Field{16, 0x205});
  block("EEXTEND", Field{8, 0x5100});
  for (unsigned i = 0; i < 256; ++i) text.push_back(static_cast<u8>(i));

  Measurement m = Measurement::start();
  m.ecreate(3, 0x40000);
  m.eadd(0x5000, arch::Secinfo{0x205, {}});
  m.eextend(0x5100, std::span<const u8, 256>(text.data() + 192, 256));
  EXPECT_EQ(m.blocks, 7u);
  EXPECT_EQ(m.finish(), reference(text));
}

TEST(SgxMeasurement, SecsKeepsIt) {
  SecsPage secs{};
  Measurement m = Measurement::start();
  m.ecreate(1, 0x2000);
  store_measurement(secs, m);
  const Measurement back = measurement_of(secs);
  EXPECT_EQ(back.chain, m.chain);
  EXPECT_EQ(back.blocks, 1u);
}

TEST(SgxMeasurement, EnclaveFromTheFieldHasItsEnclavehash) {
  const auto stream = read_shared("test_enclave.sgxs"), signature = read_shared("test_enclave.sig");
  CLOISTER_SKIP_WITHOUT(stream, "test_enclave.sgxs");
  Measurement m = Measurement::start();
  for (const SgxsRecord& r : parse_sgxs(stream)) {
    if (r.name == "UNMEASRD") continue;
    m.update(r.head);
    if (!r.data.empty()) m.update(r.data);
  }
  EXPECT_EQ(m.finish(), sigstruct_from(signature).enclavehash);
}

}  // namespace
}  // namespace cloister::silicon
