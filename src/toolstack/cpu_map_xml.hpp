// libvirt's cpu_map: index.xml and the files that it includes, in every layout that libvirt 9 to 12 ships, or one file
// of features alone.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "policy/cpu_map.hpp"

namespace cloister::toolstack {

/// Where distributions put it.
inline constexpr const char* libvirt_cpu_map_folder = "/usr/share/libvirt/cpu_map";

/// Reads the x86 part of the map in `path`: a folder with index.xml, or a file with <feature> elements. The error is a
/// line for a person, with FILE:LINE:COLUMN.
tl::expected<policy::CpuMap, std::string> load_cpu_map(const std::string& path);

}  // namespace cloister::toolstack
