// Reads a stream's records (record.hpp), of which it believes nothing: an error says where it is, what was found and
// what was expected.
#pragma once

#include "stream/codec.hpp"
#include "stream/record.hpp"

namespace cloister::stream {

struct Record {
  Kind kind = Kind::end;
  u64 at = 0;  ///< where it begins, in bytes from the stream's
  std::vector<u8> body;
};

class Reader {
 public:
  explicit Reader(Source source) : source_(std::move(source)) {}

  /// The next record that is known. Behind `end` there is nothing to be read.
  Result<Record> next();
  /// The next one, which must be of this kind.
  Result<Record> next(Kind expected);
  /// The value that is its body.
  template <class T>
  Result<T> value(Kind expected) {
    auto record = next(expected);
    if (!record) return tl::unexpected(std::move(record.error()));
    auto value = decode<T>(record->body);
    if (!value) return tl::unexpected(wrong(*record, "its body is not what its kind has"));
    return std::move(*value);
  }
  /// Behind `end`, of a source that has one: nothing else is there, and a seal is whole.
  Result<void> finish();
  /// What is wrong with a record, and where it is.
  static std::string wrong(const Record& record, std::string_view what);

 private:
  Result<void> fill(std::span<u8> bytes, std::string_view of);
  Result<void> begin();

  Source source_;
  u64 at_ = 0;
  u32 check_ = 0;
};

}  // namespace cloister::stream
