// The SGXS format and MRENCLAVE, by records written out by hand.
#include "enclave/stream.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "enclave/describe.hpp"
#include "enclave/measure.hpp"
#include "known_enclaves.hpp"

namespace cloister::enclave {
namespace {

using ::testing::HasSubstr;

using Bytes = std::vector<u8>;

void append(Bytes& to, std::string_view text) { to.insert(to.end(), text.begin(), text.end()); }
template <class T>
void append_number(Bytes& to, T value) {
  const auto at = to.size();
  to.resize(at + sizeof value);
  std::memcpy(to.data() + at, &value, sizeof value);
}

Bytes create(u32 frame_pages, u64 size) {
  Bytes record;
  append(record, {"ECREATE\0", 8});
  append_number(record, frame_pages);
  append_number(record, size);
  record.resize(64);
  return record;
}
Bytes add(u64 offset, u64 flags) {
  Bytes record;
  append(record, {"EADD\0\0\0\0", 8});
  append_number(record, offset);
  append_number(record, flags);
  record.resize(64);
  return record;
}
Bytes chunk(std::string_view tag, u64 offset, u8 fill) {
  Bytes record;
  append(record, tag);
  append_number(record, offset);
  record.resize(64);
  record.resize(64 + 256, fill);
  return record;
}
constexpr std::string_view extend{"EEXTEND\0", 8}, unmeasured{"UNMEASRD", 8};

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
std::string error_of(const Bytes& bytes) {
  const auto stream = read_sgxs(bytes);
  return stream ? "" : stream.error();
}

TEST(Sgxs, RoundTrip) {
  const Bytes bytes = join({create(2, 0x4000), add(0x1000, 0x203), chunk(extend, 0x1100, 7), add(0, 0x100),
                            chunk(unmeasured, 0x1000, 8), chunk(extend, 0, 9)});
  const auto stream = read_sgxs(bytes);
  ASSERT_TRUE(stream) << stream.error();
  EXPECT_EQ(stream->size, 0x4000u);
  EXPECT_EQ(stream->ssa_frame_pages, 2u);
  EXPECT_EQ(stream->records.size(), 5u);
  EXPECT_EQ(write_sgxs(*stream), bytes);
}

// SDM vol. 3D, 35.1.2: the measurement is over the records themselves, in their order, without what is not extended.
TEST(Sgxs, MeasurementIsTheHashOfTheMeasuredRecords) {
  const Bytes measured = join({create(1, 0x2000), add(0, 0x205), chunk(extend, 0x300, 1)});
  const Bytes all = join({create(1, 0x2000), add(0, 0x205), chunk(unmeasured, 0x200, 5), chunk(extend, 0x300, 1)});
  EXPECT_EQ(measure(*read_sgxs(all)), sha256(measured));
  EXPECT_NE(measure(*read_sgxs(join({create(1, 0x2000), add(0, 0x205)}))), sha256(measured));
}

TEST(Sgxs, EveryMeasuredBitCounts) {
  const Bytes bytes = join({create(1, 0x4000), add(0x1000, 0x205), chunk(extend, 0x1000, 1)});
  const auto whole = measure(*read_sgxs(bytes));
  for (std::size_t bit = 0; bit < bytes.size() * 8; bit++) {
    Bytes flipped = bytes;
    flipped[bit / 8] ^= static_cast<u8>(1 << bit % 8);
    const auto stream = read_sgxs(flipped);
    if (!stream) continue;
    EXPECT_NE(measure(*stream), whole) << "bit " << bit;
  }
}

TEST(Sgxs, OneErrorForEachKindOfDamage) {
  const Bytes head = create(1, 0x4000);
  Bytes reserved_create = head, reserved_add = add(0, 0x203), reserved_chunk = chunk(extend, 0, 0);
  reserved_create[63] = reserved_add[24] = reserved_chunk[16] = 1;
  EXPECT_THAT(error_of({}), HasSubstr("ends inside a header"));
  EXPECT_THAT(error_of(add(0, 0x203)), HasSubstr("does not begin with ECREATE"));
  EXPECT_THAT(error_of(reserved_create), HasSubstr("reserved"));
  EXPECT_THAT(error_of(create(1, 0x3000)), HasSubstr("power of two"));
  EXPECT_THAT(error_of(create(1, 0x1000)), HasSubstr("power of two"));
  EXPECT_THAT(error_of(create(0, 0x4000)), HasSubstr("state save areas"));
  EXPECT_THAT(error_of(join({head, Bytes(63)})), HasSubstr("record 0 at byte 0x40: ends inside a header"));
  EXPECT_THAT(error_of(join({head, Bytes(64)})), HasSubstr("unknown tag"));
  EXPECT_THAT(error_of(join({head, add(0x4000, 0x203)})), HasSubstr("outside the enclave"));
  EXPECT_THAT(error_of(join({head, add(0x800, 0x203)})), HasSubstr("not a page's"));
  EXPECT_THAT(error_of(join({head, reserved_add})), HasSubstr("reserved"));
  EXPECT_THAT(error_of(join({head, add(0, 0x20b)})), HasSubstr("reserved bits"));
  EXPECT_THAT(error_of(join({head, add(0, 0x303)})), HasSubstr("page type 3"));
  EXPECT_THAT(error_of(join({head, add(0, 0x101)})), HasSubstr("thread control structure"));
  EXPECT_THAT(error_of(join({head, add(0, 0x202)})), HasSubstr("written and not read"));
  EXPECT_THAT(error_of(join({head, add(0, 0x203), add(0, 0x203)})),
              HasSubstr("record 1 at byte 0x80: page 0x0 is added twice"));
  EXPECT_THAT(error_of(join({head, chunk(extend, 0, 0)})), HasSubstr("not added"));
  EXPECT_THAT(error_of(join({head, add(0, 0x203), reserved_chunk})), HasSubstr("reserved"));
  EXPECT_THAT(error_of(join({head, add(0, 0x203), chunk(extend, 0x80, 0)})), HasSubstr("not a chunk's"));
  EXPECT_THAT(error_of(join({head, add(0, 0x203), chunk(extend, 0, 0), chunk(unmeasured, 0, 0)})), HasSubstr("twice"));
  Bytes cut = join({head, add(0, 0x203), chunk(extend, 0, 0)});
  cut.pop_back();
  EXPECT_THAT(error_of(cut), HasSubstr("ends inside a chunk"));
}

TEST(Sgxs, MeasuresAnEnclaveFromTheField) {
  const auto file = known_enclave("test_enclave.sgxs");
  if (!file) GTEST_SKIP() << "needs " << known_enclaves << "test_enclave.sgxs";
  const auto stream = read_sgxs(*file);
  ASSERT_TRUE(stream) << stream.error();
  EXPECT_EQ(hex(measure(*stream)), "784acfd7d5096a8f0fbd3265760bff21b120f62407a9a9e5ba31aa3c8ed198fc");
  EXPECT_EQ(write_sgxs(*stream), *file);
}

}  // namespace
}  // namespace cloister::enclave
