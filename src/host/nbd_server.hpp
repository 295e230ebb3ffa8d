// qemu-nbd(8): serves an image of any format that it knows as a disk (NBD, the protocol of Debian's package nbd). It
// has the image as a descriptor that is open and locked, which stays so as long as it runs; and one client. A process
// beside it ends it, as soon as nobody has the other end of its connection.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister::toolstack {

/// What an image takes from where it has nothing itself, open to be read; and that of that one, and so on.
struct BackingImage {
  Fd file{};
  std::string format, path;
};
using BackingImages = std::span<const BackingImage>;

/// Both: check_image() of all of them (host/image_header.hpp), then start_nbd_server().
tl::expected<Fd, std::string> serve_image(const Fd& image, const std::string& format, bool read_only,
                                          const std::string& path = {}, BackingImages backing = {});
/// Starts it by fork(2), with the rights of this process, which has one thread. Returns once it serves: a connection to
/// the process beside it, in which the one to qemu-nbd waits (receive_nbd_connection).
tl::expected<Fd, std::string> start_nbd_server(const Fd& image, const std::string& format, bool read_only,
                                               BackingImages backing = {});
/// The same of a server that somebody else has started: where it listens.
tl::expected<Fd, std::string> connect_nbd_server(const std::string& path);
/// Takes it out of there, once.
tl::expected<Fd, std::string> receive_nbd_connection(const Fd& server);

}  // namespace cloister::toolstack
