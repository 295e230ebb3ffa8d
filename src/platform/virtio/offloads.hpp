// What a network interface and its driver may leave to each other (virtio 1.2, 5.1.3, 5.1.6): checksums, and cutting
// into segments. A frame says by its header what is left.
#pragma once

#include "arch/types.hpp"

namespace cloister::platform::virtio {

/// struct virtio_net_hdr, up to the number of buffers.
struct FrameHeader {
  u8 flags = 0, gso_type = 0;
  u16 header_bytes = 0, gso_size = 0, checksum_start = 0, checksum_offset = 0;
  bool operator==(const FrameHeader&) const = default;
};
static_assert(sizeof(FrameHeader) == 10);

inline constexpr u8 header_needs_checksum = 1, header_checksum_is_right = 2;
inline constexpr u8 gso_none = 0, gso_tcp4 = 1, gso_tcp6 = 4, gso_ecn = 0x80;

/// The features. "guest" is what the driver takes, the others are what the device takes.
inline constexpr u64 feature_checksum = u64{1} << 0, feature_guest_checksum = u64{1} << 1,
                     feature_guest_tso4 = u64{1} << 7, feature_guest_tso6 = u64{1} << 8,
                     feature_guest_ecn = u64{1} << 9, feature_host_tso4 = u64{1} << 11,
                     feature_host_tso6 = u64{1} << 12, feature_host_ecn = u64{1} << 13;
inline constexpr u64 all_offloads = feature_checksum | feature_guest_checksum | feature_guest_tso4 |
                                    feature_guest_tso6 | feature_guest_ecn | feature_host_tso4 | feature_host_tso6 |
                                    feature_host_ecn;

/// Of a frame that the driver sends, or that it is to get, with these features: makes of the header one that the other
/// side understands. False: it asks for what was not negotiated, or for what cannot be.
[[nodiscard]] bool settle_sent(FrameHeader& header, u64 features);
[[nodiscard]] bool settle_received(FrameHeader& header, u64 features);

}  // namespace cloister::platform::virtio
