// How two clients that carry a domain reach each other: by a Unix socket, or by ssh, which runs the other one.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "client/move_wire.hpp"

namespace cloister::toolstack::client {

/// A source's: unix:PATH, where somebody receives, or ssh://[USER@]HOST[:PORT]. $CLOISTER_SSH: the program instead of
/// ssh.
tl::expected<Wire, std::string> reach_receiver(const std::string& target);

inline constexpr std::string_view tls_word = "tls://";
/// Of a socket.
tl::expected<Wire, std::string> wire_of(Fd socket);

/// A target's: waits for one source at unix:PATH, whose socket is this user's alone and is removed then; empty:
/// standard input and output.
tl::expected<Wire, std::string> await_source(const std::string& from);

}  // namespace cloister::toolstack::client
