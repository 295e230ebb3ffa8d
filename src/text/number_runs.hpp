// Numbers of processors and nodes as the kernel, libvirt and QEMU write them: "0-3,8".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// Numbers below `end` as "0-1,4,^1" (libvirt's cpuset): ascending, each once; nullopt for anything else.
std::optional<std::vector<u32>> read_runs(std::string_view text, u32 end);
/// Runs of ascending numbers, each "N" or "N-M".
std::vector<std::string> runs_of(const std::vector<u32>& numbers);

}  // namespace cloister::toolstack
