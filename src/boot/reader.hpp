// A process that says what a disk's guest starts from, each time that it is asked. The disk is its guest's own, so each
// look at it is another process's, which has the disk to read, memory and time within bounds, no privileges, and a
// filter that leaves it no way to anything else. It ends as soon as nobody has the other end of its connection.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "boot/choice.hpp"
#include "host/fd.hpp"

namespace cloister::boot {

/// Starts it, by fork(2): in a process that has one thread. `disk` is open to be read. Our end of its connection, a
/// SOCK_SEQPACKET socket: any packet asks, an answer is a Packet (host/packet.hpp), which has `kernel`, `ramdisk` and
/// `cmdline`, and the two files as sealed memfds, or `error` (plan/boot_files.hpp reads it).
tl::expected<Fd, std::string> start_boot_reader(const Fd& disk, const Wanted& wanted);

/// The longest that a look takes.
inline constexpr int boot_patience_ms = 60'000;

}  // namespace cloister::boot
