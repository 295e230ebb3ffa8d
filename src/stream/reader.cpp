#include "stream/reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "stream/checksum.hpp"

namespace cloister::stream {

std::string Reader::wrong(const Record& record, std::string_view what) {
  return fmt::format("byte {}: record {}: {}", record.at, row_of(record.kind).name, what);
}

Result<void> Reader::fill(std::span<u8> bytes, std::string_view of) {
  while (!bytes.empty()) {
    const std::size_t found = TRY(source_(bytes));
    at_ += found;
    if (found == 0)
      return tl::unexpected(
          fmt::format("byte {}: the stream ends in {}, of which {} more bytes were expected", at_, of, bytes.size()));
    bytes = bytes.subspan(std::min(found, bytes.size()));
  }
  return {};
}

Result<void> Reader::begin() {
  std::array<u8, header_bytes> bytes;
  TRY(fill(bytes, "its header"));
  const auto header = decode<Header>(bytes);
  if (!header || header->magic != magic) return tl::unexpected(std::string("byte 0: found no saved domain's header"));
  if (header->major != major_version || header->reserved != 0)
    return tl::unexpected(fmt::format("byte 8: found version {}.{} of the stream, expected {}", header->major,
                                      header->minor, major_version));
  check_ = checksum(0, bytes);
  return {};
}

Result<Record> Reader::next() {
  if (at_ == 0) TRY(begin());
  for (;;) {
    Record record;
    record.at = at_;
    std::array<u8, head_bytes> bytes;
    TRY(fill(bytes, "a record's head"));
    const RecordHead head = decode<RecordHead>(bytes).value_or(RecordHead{});
    const KindRow* const row = row_of(head.type);
    const bool optional = (head.type & optional_bit) != 0;
    if (row == nullptr && !optional)
      return tl::unexpected(
          fmt::format("byte {}: found a record of type {:#x}, which is not known here", record.at, head.type));
    if (row != nullptr && head.version != row->version)
      return tl::unexpected(fmt::format("byte {}: record {}: found version {}, expected {}", record.at, row->name,
                                        head.version, row->version));
    const u32 most = row != nullptr ? row->most_bytes : most_optional_bytes;
    if (head.bytes > most)
      return tl::unexpected(
          fmt::format("byte {}: found a record of {} bytes, expected at most {}", record.at, head.bytes, most));
    record.body.resize((u64{head.bytes} + 7) / 8 * 8);
    TRY(fill(record.body, row != nullptr ? row->name : "an optional record"));
    check_ = checksum(checksum(check_, std::span(bytes).first(head_bytes - sizeof head.check)), record.body);
    const bool padded =
        std::all_of(record.body.begin() + head.bytes, record.body.end(), [](u8 byte) { return byte == 0; });
    if (check_ != head.check || !padded)
      return tl::unexpected(fmt::format("byte {}: found a record with another checksum than its own", record.at));
    record.body.resize(head.bytes);
    if (row == nullptr) continue;
    record.kind = row->kind;
    return record;
  }
}

Result<Record> Reader::next(Kind expected) {
  Record record = TRY(next());
  if (record.kind != expected)
    return tl::unexpected(fmt::format("byte {}: found record {}, expected {}", record.at, row_of(record.kind).name,
                                      row_of(expected).name));
  return record;
}

Result<void> Reader::finish() {
  std::array<u8, 1> more;
  if (TRY(source_(more)) != 0) return tl::unexpected(fmt::format("byte {}: found more behind the stream's end", at_));
  return {};
}

}  // namespace cloister::stream
