// libvirt's cpu_map: index.xml and the files that it includes, in every layout that libvirt 9 to 12 ships, or one file
// of features alone.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "policy/cpu_map.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// Where distributions put it.
inline constexpr const char* libvirt_cpu_map_folder = "/usr/share/libvirt/cpu_map";

/// The text of a file of the map's folder, by its name there; the error is the system's.
using MapFiles = std::function<tl::expected<std::string, std::string>(const std::string& name)>;

struct MapError {
  std::string file;  ///< its name in the folder
  Diagnostic diagnostic;
};
/// Reads the x86 part of a map that begins with the file `first`, "index.xml" or one of features. Files are strangers':
/// any bytes give a map or one error. Each file is read once; includes never leave the folder.
tl::expected<policy::CpuMap, MapError> read_cpu_map(const std::string& first, const MapFiles& files);

/// Reads the x86 part of the map in `path`: a folder with index.xml, or a file with <feature> elements. The error is a
/// line for a person, with FILE:LINE:COLUMN.
tl::expected<policy::CpuMap, std::string> load_cpu_map(const std::string& path);

}  // namespace cloister::toolstack
