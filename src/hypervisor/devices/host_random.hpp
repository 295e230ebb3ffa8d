// Random bytes of the host's kernel (getrandom(2)), which a sandbox allows.
#pragma once

#include <cstddef>
#include <span>

namespace cloister::hypervisor {

/// False: there are none.
bool fill_with_random(std::span<std::byte> to);

}  // namespace cloister::hypervisor
