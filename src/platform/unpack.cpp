// One function a format: each unpacks into a buffer that grows as bytes come, so that a lying size costs no memory, and
// stops at the first byte too many.
#include "platform/unpack.hpp"

#include <fmt/format.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

namespace cloister::platform {
namespace {

using Result = tl::expected<Bytes, std::string>;
using Failure = tl::unexpected<std::string>;

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;

// The unpacked bytes: one more than `expected` at most, which is how a stream that is too long shows.
class Sink {
 public:
  explicit Sink(u64 expected) : limit_(expected + 1) {}
  /// Room for the next bytes, empty once the limit is reached.
  std::span<u8> room() {
    if (used_ == bytes_.size()) bytes_.resize(std::min<u64>(limit_, std::max<u64>(2 * used_, chunk_bytes)));
    return std::span(bytes_).subspan(used_);
  }
  void used(std::size_t n) { used_ += n; }
  bool full() const { return used_ == limit_; }
  Bytes take() {
    bytes_.erase(bytes_.begin() + static_cast<std::ptrdiff_t>(used_), bytes_.end());
    return std::move(bytes_);
  }

 private:
  u64 limit_;
  std::size_t used_ = 0;
  Bytes bytes_;
};

Result unpack_lz4(std::span<const u8> stream, u64 expected) {
  constexpr u64 block_limit = u64{8} << 20;  // the legacy frame's largest block, unpacked
  constexpr u64 magic_bytes = 4, size_bytes = 4;
  Sink sink(expected);
  const auto block = std::make_unique_for_overwrite<u8[]>(block_limit);
  for (u64 at = magic_bytes; at < stream.size();) {
    if (!within(at, size_bytes, stream.size()))
      return Failure(fmt::format("lz4: {} bytes where a block's size was expected", stream.size() - at));
    const u64 size = load<u32>(stream, at);
    at += size_bytes;
    if (!within(at, size, stream.size()))
      return Failure(fmt::format("lz4: a block of {:#x} bytes at payload offset {:#x} runs past the end ({:#x} bytes)",
                                 size, at, stream.size()));
    const bool plausible = size <= LZ4_COMPRESSBOUND(block_limit);
    const int got = plausible ? LZ4_decompress_safe(reinterpret_cast<const char*>(stream.data() + at),
                                                    reinterpret_cast<char*>(block.get()), static_cast<int>(size),
                                                    static_cast<int>(block_limit))
                              : -1;
    if (got < 0) return Failure(fmt::format("lz4: the block at payload offset {:#x} is damaged", at));
    for (std::span<const u8> rest(block.get(), static_cast<std::size_t>(got)); !rest.empty();) {
      const std::span<u8> room = sink.room();
      if (room.empty()) return sink.take();
      const std::size_t n = std::min(room.size(), rest.size());
      std::copy_n(rest.begin(), n, room.begin());
      sink.used(n);
      rest = rest.subspan(n);
    }
    at += size;
  }
  return sink.take();
}

Result unpack_gzip(std::span<const u8> stream, u64 expected) {
  z_stream z{};
  constexpr int gzip_window = 15 + 16;  // 32 KiB, with gzip's header and trailer
  if (inflateInit2(&z, gzip_window) != Z_OK) return Failure("gzip: no memory for the decoder");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&z, inflateEnd);
  z.next_in = const_cast<u8*>(stream.data());
  z.avail_in = static_cast<uInt>(stream.size());
  Sink sink(expected);
  for (int code = Z_OK; code != Z_STREAM_END && !sink.full();) {
    const std::span<u8> room = sink.room();
    z.next_out = room.data();
    z.avail_out = static_cast<uInt>(room.size());
    code = inflate(&z, Z_NO_FLUSH);
    sink.used(room.size() - z.avail_out);
    if (code == Z_BUF_ERROR) return Failure("gzip: the payload ends in mid-stream");
    if (code != Z_OK && code != Z_STREAM_END)
      return Failure(fmt::format("gzip: the payload is damaged at offset {:#x} ({})", z.total_in,
                                 z.msg ? z.msg : "unexpected contents"));
  }
  return sink.take();
}

Result unpack_xz(std::span<const u8> stream, u64 expected) {
  constexpr u64 memory_limit = u64{256} << 20;
  lzma_stream x = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&x, memory_limit, 0) != LZMA_OK) return Failure("xz: no memory for the decoder");
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> end(&x, lzma_end);
  x.next_in = stream.data();
  x.avail_in = stream.size();
  Sink sink(expected);
  for (lzma_ret code = LZMA_OK; code != LZMA_STREAM_END && !sink.full();) {
    const std::span<u8> room = sink.room();
    x.next_out = room.data();
    x.avail_out = room.size();
    code = lzma_code(&x, LZMA_FINISH);
    sink.used(room.size() - x.avail_out);
    if (code == LZMA_BUF_ERROR) return Failure("xz: the payload ends in mid-stream");
    if (code != LZMA_OK && code != LZMA_STREAM_END)
      return Failure(
          fmt::format("xz: the payload is damaged at offset {:#x} (code {})", x.total_in, static_cast<int>(code)));
  }
  return sink.take();
}

Result unpack_zstd(std::span<const u8> stream, u64 expected) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> decoder(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!decoder) return Failure("zstd: no memory for the decoder");
  ZSTD_inBuffer in{stream.data(), stream.size(), 0};
  Sink sink(expected);
  for (std::size_t code = 1; code != 0 && !sink.full();) {
    const std::span<u8> room = sink.room();
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    const std::size_t before = in.pos;
    code = ZSTD_decompressStream(decoder.get(), &out, &in);
    sink.used(out.pos);
    if (ZSTD_isError(code))
      return Failure(fmt::format("zstd: the payload is damaged at offset {:#x} ({})", in.pos, ZSTD_getErrorName(code)));
    if (code != 0 && in.pos == before && out.pos == 0) return Failure("zstd: the payload ends in mid-stream");
  }
  return sink.take();
}

struct Format {
  std::string_view magic;
  bool size_follows;  // the unpacked size comes after the stream, rather than being its trailer
  Result (*unpack)(std::span<const u8> stream, u64 expected);
};

using namespace std::string_view_literals;
constexpr std::array<Format, 4> formats{{
    {"\x02\x21\x4c\x18"sv, true, unpack_lz4},
    {"\x1f\x8b"sv, false, unpack_gzip},
    {"\xfd"
     "7zXZ\0"sv,
     true, unpack_xz},
    {"\x28\xb5\x2f\xfd"sv, true, unpack_zstd},
}};

bool starts_with(std::span<const u8> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(), [](char a, u8 b) { return static_cast<u8>(a) == b; });
}

}  // namespace

Result unpack(std::span<const u8> payload) {
  constexpr u64 size_bytes = 4;
  if (starts_with(payload,
                  "\x7f"
                  "ELF"))
    return Bytes(payload.begin(), payload.end());
  const auto format =
      std::find_if(formats.begin(), formats.end(), [&](const Format& f) { return starts_with(payload, f.magic); });
  if (format == formats.end())
    return Failure(
        fmt::format("the payload ({:#x} bytes) starts with {:02x}; expected the magic of lz4 (legacy frame), gzip, xz, "
                    "zstd or ELF",
                    payload.size(), fmt::join(payload.first(std::min<std::size_t>(payload.size(), 6)), " ")));
  if (payload.size() < format->magic.size() + size_bytes)
    return Failure(fmt::format("the payload has {:#x} bytes, too few for its unpacked size", payload.size()));

  const u64 expected = load<u32>(payload, payload.size() - size_bytes);
  if (expected > max_unpacked_bytes)
    return Failure(fmt::format("the payload says that it unpacks to {:#x} bytes; at most {:#x} are accepted", expected,
                               max_unpacked_bytes));
  auto unpacked = format->unpack(format->size_follows ? payload.first(payload.size() - size_bytes) : payload, expected);
  if (unpacked && unpacked->size() != expected)
    return Failure(fmt::format("the payload unpacks to {}{:#x} bytes; its last four bytes say {:#x}",
                               unpacked->size() > expected ? "at least " : "", unpacked->size(), expected));
  return unpacked;
}

}  // namespace cloister::platform
