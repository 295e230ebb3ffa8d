#include "platform/virtio/offloads.hpp"

namespace cloister::platform::virtio {
namespace {

struct Allowed {
  bool checksum = false, tso4 = false, tso6 = false, ecn = false;
};

/// A segment's checksum is always left with it (5.1.6.2). Fields that say nothing are zeros.
bool settle(FrameHeader& header, u8 known_flags, const Allowed& allowed) {
  const u8 type = header.gso_type & ~gso_ecn;
  const bool needs_checksum = (header.flags & header_needs_checksum) != 0, cut = type != gso_none;
  if (needs_checksum && !allowed.checksum) return false;
  if (!cut && header.gso_type != gso_none) return false;
  if (cut && (!needs_checksum || header.gso_size == 0)) return false;
  if (cut && !(type == gso_tcp4 && allowed.tso4) && !(type == gso_tcp6 && allowed.tso6)) return false;
  if ((header.gso_type & gso_ecn) != 0 && !allowed.ecn) return false;
  header.flags &= known_flags;
  if (!cut) header.header_bytes = header.gso_size = 0;
  if (!needs_checksum) header.checksum_start = header.checksum_offset = 0;
  return true;
}

}  // namespace

bool settle_sent(FrameHeader& header, u64 features) {
  const auto has = [features](u64 feature) { return (features & feature) != 0; };
  return settle(header, header_needs_checksum,
                {.checksum = has(feature_checksum),
                 .tso4 = has(feature_host_tso4),
                 .tso6 = has(feature_host_tso6),
                 .ecn = has(feature_host_ecn)});
}

bool settle_received(FrameHeader& header, u64 features) {
  const auto has = [features](u64 feature) { return (features & feature) != 0; };
  const u8 known = has(feature_guest_checksum) ? header_needs_checksum | header_checksum_is_right : 0;
  return settle(header, known,
                {.checksum = has(feature_guest_checksum),
                 .tso4 = has(feature_guest_tso4),
                 .tso6 = has(feature_guest_tso6),
                 .ecn = has(feature_guest_ecn)});
}

}  // namespace cloister::platform::virtio
