// A stream that nobody reads or alters without its key (docs/stream.md): AES-256-GCM in frames of 64 KiB, which are
// counted, and of which the last one is marked. What a frame brings is authentic before anybody sees it; that the
// stream is whole is known at its end.
#pragma once

#include <array>

#include "stream/record.hpp"

namespace cloister::stream {

/// Of one stream alone: the frames' numbers are what keeps its nonces apart.
using SealKey = std::array<u8, 32>;
/// By which its key is found. It stands in clear at the stream's beginning.
using SealId = std::array<u8, 32>;

inline constexpr std::array<u8, 8> seal_magic{'C', 'L', 'S', 'E', 'A', 'L', 'E', 'D'};
inline constexpr u16 seal_version = 1;
inline constexpr std::size_t seal_header_bytes = 48, frame_bytes = 64 << 10, tag_bytes = 16;
/// Of the last frame, which is empty.
inline constexpr std::size_t seal_end_bytes = 4 + tag_bytes;

class Sealer {
 public:
  Sealer(Sink sink, const SealKey& key, const SealId& id);
  ~Sealer();
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;

  /// It must outlive what this returns.
  Sink sink();
  /// What has come so far goes on at once, as a frame of its own.
  Result<void> flush();
  /// Nothing more comes.
  Result<void> finish();

 private:
  Result<void> put_frame(bool last);

  Sink sink_;
  SealKey key_;
  std::array<u8, seal_header_bytes> header_{};
  std::vector<u8> pending_;
  u64 frames_ = 0;
};

/// By which the key of what begins with these bytes is found. The error says that they are no sealed stream's.
Result<SealId> seal_id(std::span<const u8> beginning);
/// Whether a sealed stream that ends so has its last frame. Who writes frames in their order knows by it, and without
/// the key, that all are there; that they are authentic only unsealed() knows.
bool seal_ends_with(std::span<const u8, seal_end_bytes> end);
/// The bytes of a sealed stream, from its header on; they end only behind its last frame.
Source unsealed(Source from, const SealKey& key);

}  // namespace cloister::stream
