// Writing to whoever reads at their leisure, or not at all: a pipe to a pager, a terminal. The descriptor may be shared
// with other programs, so that it stays as it is (blocking), and the writer is woken from write(2) instead.
#pragma once

#include <functional>
#include <span>

#include "arch/types.hpp"

namespace cloister::toolstack {

enum class Written : u8 { all, given_up, failed };

/// Writes all, as long as that takes and `enough` is false: it is asked several times a second, and from its first true
/// on nothing is waited for. failed: with errno. Any thread; `enough` is called on it.
Written write_unless(const std::function<bool()>& enough, int fd, std::span<const u8> bytes);

}  // namespace cloister::toolstack
