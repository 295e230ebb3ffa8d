// The header of a packet between a guest's sockets and the host's (virtio 1.2, 5.10.6).
#pragma once

#include "arch/types.hpp"

namespace cloister::platform::virtio {

inline constexpr u64 vsock_host = 2;  ///< its CID
inline constexpr u16 vsock_stream = 1;
enum VsockOp : u16 {
  vsock_op_request = 1,
  vsock_op_response = 2,
  vsock_op_reset = 3,
  vsock_op_shutdown = 4,
  vsock_op_data = 5,
  vsock_op_credit_update = 6,
  vsock_op_credit_request = 7,
};
/// Flags of a shutdown: of who says it.
enum VsockEnd : u8 { vsock_receives_no_more = 1, vsock_sends_no_more = 2, vsock_ends_both = 3 };

struct VsockHeader {
  u32 from_cid = 0, from_cid_high = 0, to_cid = 0, to_cid_high = 0;
  u32 from_port = 0, to_port = 0;
  u32 bytes = 0;  ///< behind it
  u16 type = vsock_stream, op = 0;
  u32 flags = 0;
  u32 room = 0, forwarded = 0;  ///< buf_alloc and fwd_cnt

  u64 source() const { return from_cid | u64{from_cid_high} << 32; }
  u64 destination() const { return to_cid | u64{to_cid_high} << 32; }
  static VsockHeader to(u32 guest_port, u32 host_port, u16 op) {
    VsockHeader header;
    header.from_cid = static_cast<u32>(vsock_host);
    header.from_port = host_port;
    header.to_port = guest_port;
    header.op = op;
    return header;
  }
};

}  // namespace cloister::platform::virtio
