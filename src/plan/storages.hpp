// Disks on storage that several machines have (machine.toml, `[storage]`): where one is on this machine, and what one
// that is named by its path is called on all of them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "config/disks.hpp"
#include "machine/machine.hpp"

namespace cloister::toolstack {

/// Where a file is: its path, and, if it may lie nowhere else, the folder that it is below. Then the path is relative.
struct DiskPlace {
  std::string path;
  std::string folder{};
  /// For people, and for whoever needs no such promise.
  std::string whole() const { return folder.empty() ? path : folder + "/" + path; }
};

/// The error is for a person.
tl::expected<DiskPlace, std::string> place_on_storage(const StorageTarget& target,
                                                      std::span<const SharedStorage> storages);
/// What an absolute path is called, by how it is written; of one that lies in no storage: nullopt.
std::optional<StorageTarget> storage_of(const std::string& path, std::span<const SharedStorage> storages);

/// Why it cannot go on elsewhere, wherever it lies; empty: it can.
std::string why_disk_stays(const DiskConfig& disk);

/// A configuration for whoever opens its disks by their paths alone. The error stands at the disk.
tl::expected<DomainConfig, Diagnostic> with_places(DomainConfig config, std::span<const SharedStorage> storages);

}  // namespace cloister::toolstack
