// qemu-nbd(8): serves an image of any format that it knows as a disk (NBD, the protocol of Debian's package nbd). It
// has the image as a descriptor that is open and locked, which stays so as long as it runs; and one client. A process
// beside it ends it, as soon as nobody has the other end of its connection.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister::toolstack {

/// Why this image is not to be served: its header names other files, which the format would have opened too. Of the
/// header it reads where that would be, and nothing else.
tl::expected<void, std::string> check_image(const Fd& image, std::string_view format);

/// Both: check_image(), then start_nbd_server().
tl::expected<Fd, std::string> serve_image(const Fd& image, const std::string& format, bool read_only);
/// Starts it by fork(2), with the rights of this process, which has one thread. Returns once it serves: a connection to
/// the process beside it, in which the one to qemu-nbd waits (receive_nbd_connection).
tl::expected<Fd, std::string> start_nbd_server(const Fd& image, const std::string& format, bool read_only);
/// The same of a server that somebody else has started: where it listens.
tl::expected<Fd, std::string> connect_nbd_server(const std::string& path);
/// Takes it out of there, once.
tl::expected<Fd, std::string> receive_nbd_connection(const Fd& server);

}  // namespace cloister::toolstack
