// Kernels are unpacked by the platform, ramdisks taken as they are. What cannot fit is refused before it is read: a
// kernel that is longer than any that is unpacked, a ramdisk that is longer than the memory. Disks stay open as long as
// somebody has them, through a domain's restarts.
#include "plan/images.hpp"

#include <algorithm>

#include "arch/try.hpp"
#include "config/disks.hpp"
#include "host/disk_image.hpp"
#include "host/nbd_server.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/devices/nbd_disk.hpp"
#include "hypervisor/devices/raw_disk.hpp"
#include "platform/unpack.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

using Bytes = tl::expected<std::vector<u8>, std::string>;

tl::unexpected<Diagnostic> at_key(const DomainConfig& config, std::string_view key, const std::string& path,
                                  const std::string& error) {
  return tl::unexpected(
      Diagnostic{config.position_of(key),
                 std::string("cannot use ").append(key).append(" '" + cut_path(path) + "': ").append(error)});
}

constexpr u64 most_kernel = platform::max_unpacked_bytes;
u64 most_ramdisk(const DomainConfig& config) { return config.memory_mib << 20; }

tl::expected<Images, Diagnostic> make_images(const DomainConfig& config, Bytes kernel, Bytes ramdisk) {
  Images images;
  if (config.bootloader) return images;
  if (!kernel) return at_key(config, "kernel", config.kernel, kernel.error());
  if (!ramdisk) return at_key(config, "ramdisk", config.ramdisk, ramdisk.error());
  images.packed = std::make_shared<const std::vector<u8>>(std::move(*kernel));
  if (config.ramdisk.empty()) return images;
  images.ramdisk = std::make_shared<const std::vector<u8>>(std::move(*ramdisk));
  return images;
}

tl::unexpected<Diagnostic> unusable(const DiskConfig& disk, const std::string& why) {
  return tl::unexpected(cannot_use(disk, why));
}

tl::expected<void, DiskError> lock_of(int fd, DiskUse use, const std::string& format) {
  return format == "raw" ? lock_disk(fd, use) : lock_disk_soon(fd, use);
}

tl::expected<std::vector<BackingImage>, std::string> open_backing(const DiskConfig& disk, bool lock) {
  std::vector<BackingImage> opened;
  for (const BackingConfig& one : disk.backing) {
    const auto of_it = [&](const DiskError& error) {
      return tl::unexpected("its backing file '" + cut_path(one.path) +
                            "': " + (error.in_use.empty() ? error.message : in_use_by_stranger(one.path)));
    };
    auto fd = open_disk(one.path, DiskUse::read);
    if (!fd) return of_it(fd.error());
    if (const auto locked = lock ? lock_disk_soon(fd->get(), DiskUse::read) : tl::expected<void, DiskError>(); !locked)
      return of_it(locked.error());
    opened.push_back({.file = std::move(*fd), .format = one.format, .path = one.path});
  }
  return opened;
}

tl::expected<std::vector<Fd>, Diagnostic> open_disks(const DomainConfig& config, bool lock) {
  std::vector<Fd> opened;
  std::vector<std::string> identities;
  for (const DiskConfig& disk : config.disks) {
    const DiskUse use = disk.read_only ? DiskUse::read : DiskUse::write;
    if (const auto socket = nbd_socket(disk.path)) {
      auto server = lock ? connect_nbd_server(*socket) : tl::expected<Fd, std::string>();
      if (!server) return unusable(disk, server.error());
      identities.emplace_back();
      opened.push_back(std::move(*server));
      continue;
    }
    if (storage_target(disk.path)) return unusable(disk, "this machine has no storages that it could be on");
    auto fd = open_disk(disk.path, use);
    if (!fd) return unusable(disk, fd.error().message);
    if (const auto locked = lock ? lock_of(fd->get(), use, disk.format) : tl::expected<void, DiskError>(); !locked) {
      const DiskError& why = locked.error();
      return unusable(disk, why.in_use.empty() ? why.message : who_uses(config, identities, why.in_use, disk.path));
    }
    identities.push_back(identity_of_disk(fd->get()));
    const auto backing = open_backing(disk, lock);
    if (!backing) return unusable(disk, backing.error());
    if (lock && disk.format != "raw") {
      auto server = serve_image(*fd, disk.format, disk.read_only, disk.path, *backing);
      if (!server) return unusable(disk, server.error());
      *fd = std::move(*server);
    }
    opened.push_back(std::move(*fd));
  }
  return opened;
}

tl::expected<std::shared_ptr<platform::virtio::Storage>, std::string> storage_on(const DiskConfig& disk, Fd opened,
                                                                                 bool served) {
  const bool by_nbd = nbd_socket(disk.path) || (served && disk.format != "raw");
  if (!by_nbd) return hypervisor::RawDisk::create(std::move(opened));
  auto connection = TRY(receive_nbd_connection(opened));
  return hypervisor::NbdDisk::create(std::move(connection), std::move(opened), disk.read_only);
}

/// `opened`: in the configuration's order; `served`: those that are not raw are served.
tl::expected<Images, Diagnostic> with_disks(Images images, const DomainConfig& config, std::vector<Fd> opened,
                                            bool served = true) {
  for (std::size_t i = 0; i < config.disks.size(); ++i) {
    const DiskConfig& disk = config.disks[i];
    if (!served && nbd_socket(disk.path)) continue;  // only looked at
    auto storage = storage_on(disk, std::move(opened[i]), served);
    if (!storage) return unusable(disk, storage.error());
    images.disks.push_back({.storage = std::move(*storage), .id = disk.vdev, .read_only = disk.read_only});
  }
  return images;
}

}  // namespace

Diagnostic cannot_use(const DiskConfig& disk, const std::string& why) {
  return {disk.at, "cannot use disk '" + cut_path(disk.path) + "': " + why};
}

/// The locks of its own disks are those of anybody.
std::string who_uses(const DomainConfig& config, std::span<const std::string> open, const std::string& identity,
                     const std::string& path, const std::string& domain) {
  if (const auto own = std::ranges::find(open, identity); own != open.end())
    return "it is the domain's disk " + config.disks[static_cast<std::size_t>(own - open.begin())].vdev + ", too";
  return domain.empty() ? in_use_by_stranger(path) : "domain '" + domain + "' uses it";
}

tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, bool unpack) {
  auto images = TRY(make_images(config, config.bootloader ? Bytes{} : read_regular(config.kernel, most_kernel),
                                config.ramdisk.empty() ? Bytes{} : read_regular(config.ramdisk, most_ramdisk(config))));
  if (unpack) TRY(unpack_kernel(config, images));
  images.packed = nullptr;
  return with_disks(std::move(images), config, TRY(open_disks(config, unpack)), unpack);
}

tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, int kernel, int ramdisk,
                                             std::vector<Fd> disks) {
  auto images = TRY(make_images(config, config.bootloader ? Bytes{} : read_within(kernel, most_kernel),
                                config.ramdisk.empty() ? Bytes{} : read_within(ramdisk, most_ramdisk(config))));
  return with_disks(std::move(images), config, std::move(disks));
}

tl::expected<void, Diagnostic> unpack_kernel(const DomainConfig& config, Images& images) {
  if (!images.packed) return {};
  auto image = platform::read_kernel(*images.packed);
  if (!image) return at_key(config, "kernel", config.kernel, image.error());
  images.kernel = std::make_shared<const platform::KernelImage>(std::move(*image));
  return {};
}

}  // namespace cloister::toolstack
