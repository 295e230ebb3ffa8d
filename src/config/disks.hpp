// `disk`: a list with a string for each disk, as xl-disk-configuration(5) has it: fields with commas between them, by
// their place (target, format, vdev, access) or by name, of which `target=` takes the rest of the string.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

/// In the order of their places. The error stands at the element.
tl::expected<std::vector<DiskConfig>, Diagnostic> read_disks(const xl::Setting& setting);
std::string disks_text(const std::vector<DiskConfig>& disks);
/// One as an element of that list, without its quotes.
std::string disk_text(const DiskConfig& disk);

/// Of a target `nbd:unix:PATH`, where somebody serves the disk: PATH. Of a file: nullopt.
std::optional<std::string> nbd_socket(const std::string& target);

/// Of a target `storage:NAME/PATH`: a file on the storage that machine.toml calls NAME (machine/machine.hpp), by its
/// path below that. Of another one: nullopt.
struct StorageTarget {
  std::string name, path;
};
std::optional<StorageTarget> storage_target(const std::string& target);
std::string to_text(const StorageTarget& target);
/// Whether it is a name, and a path that leads nowhere else: folders and a file, without "." and "..".
bool is_storage_target(const StorageTarget& target);

}  // namespace cloister::toolstack
