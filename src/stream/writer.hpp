// Writes a stream's records (record.hpp).
#pragma once

#include "stream/codec.hpp"
#include "stream/record.hpp"

namespace cloister::stream {

class Writer {
 public:
  explicit Writer(Sink sink) : sink_(std::move(sink)) {}

  /// The header comes first, by itself.
  Result<void> record(Kind kind, std::span<const u8> body);
  template <class T>
  Result<void> value(Kind kind, const T& what) {
    return record(kind, encode(what));
  }
  Result<void> end() { return record(Kind::end, {}); }

 private:
  Result<void> put(std::span<const u8> bytes);

  Sink sink_;
  u32 check_ = 0;
  bool begun_ = false;
};

}  // namespace cloister::stream
