#include "run/boot_source.hpp"

#include "arch/try.hpp"
#include "boot/reader.hpp"
#include "host/disk_image.hpp"
#include "plan/boot_files.hpp"

namespace cloister::toolstack {

tl::expected<BootSource, Diagnostic> BootSource::start(const DomainConfig& config) {
  BootSource source;
  if (!config.bootloader) return source;
  const auto disk = open_disk(config.disks.front().path, DiskUse::read);
  if (!disk) return tl::unexpected(cannot_boot(config, disk.error().message));
  const BootloaderOptions& options = config.bootloader_options;
  auto reader = boot::start_boot_reader(*disk, {.kernel = options.kernel,
                                                .ramdisk = options.ramdisk,
                                                .entry = options.entry,
                                                .most_kernel = most_boot_kernel(config),
                                                .most_ramdisk = most_boot_ramdisk(config),
                                                .format = config.disks.front().format});
  if (!reader) return tl::unexpected(cannot_boot(config, reader.error()));
  source.reader_ = std::move(*reader);
  return source;
}

tl::expected<void, Diagnostic> BootSource::look(const DomainConfig& config, Images& images, bool starts) const {
  if (!reader_ || !starts) return {};
  // What another process serves is in its memory until then.
  images.disks.front().storage->flush();
  const auto files = ask_boot_reader(reader_.get());
  if (!files) return tl::unexpected(cannot_boot(config, files.error()));
  if (const auto taken = take_boot_files(config, *files, images); !taken)
    return tl::unexpected(cannot_boot(config, taken.error()));
  return {};
}

}  // namespace cloister::toolstack
