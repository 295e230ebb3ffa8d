// A process that nobody waits for, at the other end of a connection: a fork of who starts it, with the same rights, and
// with nothing of what was open but what it is given. It ends when its work returns, which is when nobody has our end.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister {

/// Where a lone process finds its end of the connection, and behind it the descriptors that it was given, in their
/// order. At 0 to 2 is /dev/null, at greater numbers nothing.
inline constexpr int lone_connection = 3;

/// Starts it: our end of its connection, a SOCK_SEQPACKET socket. By fork(2): the caller has one thread, or no thread
/// of which `work` would need something. `name`: of at most 15 letters, for ps(1). The error is for a person.
tl::expected<Fd, std::string> start_lone_process(const char* name, std::span<const int> given,
                                                 const std::function<void()>& work);

}  // namespace cloister
