#include "stream/writer.hpp"

#include <fmt/format.h>

#include "arch/try.hpp"
#include "stream/checksum.hpp"

namespace cloister::stream {

Result<void> Writer::put(std::span<const u8> bytes) {
  check_ = checksum(check_, bytes);
  return sink_(bytes);
}

Result<void> Writer::record(Kind kind, std::span<const u8> body) {
  const KindRow& row = row_of(kind);
  if (body.size() > row.most_bytes)
    return tl::unexpected(
        fmt::format("a record {} of {} bytes, where {} are the most", row.name, body.size(), row.most_bytes));
  if (!begun_) {
    begun_ = true;
    TRY(put(encode(Header{.magic = magic, .major = major_version, .minor = minor_version})));
  }
  constexpr std::array<u8, 8> zeros{};
  const std::span padding = std::span(zeros).first((8 - body.size() % 8) % 8);
  RecordHead head{.type = static_cast<u32>(kind), .version = row.version, .bytes = static_cast<u32>(body.size())};
  const std::vector<u8> first = encode(head);
  check_ = checksum(check_, std::span(first).first(head_bytes - sizeof head.check));
  head.check = check_ = checksum(checksum(check_, body), padding);
  TRY(sink_(encode(head)));
  TRY(sink_(body));
  return sink_(padding);
}

}  // namespace cloister::stream
