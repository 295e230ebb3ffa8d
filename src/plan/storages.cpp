#include "plan/storages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "plan/images.hpp"

namespace cloister::toolstack {

tl::expected<DiskPlace, std::string> place_on_storage(const StorageTarget& target,
                                                      std::span<const SharedStorage> storages) {
  const auto found = std::ranges::find(storages, target.name, &SharedStorage::name);
  if (found != storages.end()) return DiskPlace{.path = target.path, .folder = found->folder};
  return tl::unexpected(fmt::format(
      "this machine has no storage '{}': expected a folder of that name in its machine.toml, [storage]", target.name));
}

std::optional<StorageTarget> storage_of(const std::string& path, std::span<const SharedStorage> storages) {
  const std::string plain = std::filesystem::path(path).lexically_normal().string();
  std::optional<StorageTarget> best;
  for (const SharedStorage& one : storages) {
    if (!plain.starts_with(one.folder + "/")) continue;
    StorageTarget target{one.name, plain.substr(one.folder.size() + 1)};
    // The innermost of several.
    if (is_storage_target(target) && (!best || target.path.size() < best->path.size())) best = std::move(target);
  }
  return best;
}

std::string why_disk_stays(const DiskConfig& disk) {
  if (nbd_socket(disk.path)) return "another program serves it, which this domain alone is connected to";
  if (disk.format != "raw")
    return fmt::format("found {}, expected raw: what reads other formats keeps parts of an image in its memory",
                       disk.format);
  return "";
}

tl::expected<DomainConfig, Diagnostic> with_places(DomainConfig config, std::span<const SharedStorage> storages) {
  for (DiskConfig& disk : config.disks) {
    const auto target = storage_target(disk.path);
    if (!target) continue;
    const auto place = place_on_storage(*target, storages);
    if (!place) return tl::unexpected(cannot_use(disk, place.error()));
    disk.path = place->whole();
  }
  return config;
}

}  // namespace cloister::toolstack
