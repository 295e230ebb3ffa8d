// Kernels are unpacked by the platform, ramdisks taken as they are. What cannot fit is refused before it is read: a
// kernel that is longer than any that is unpacked, a ramdisk that is longer than the memory.
#include "plan/images.hpp"

#include "host/whole_file.hpp"
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

tl::expected<Images, Diagnostic> make_images(const DomainConfig& config, Bytes kernel, Bytes ramdisk, bool unpack) {
  Images images;
  if (!kernel) return at_key(config, "kernel", config.kernel, kernel.error());
  if (!ramdisk) return at_key(config, "ramdisk", config.ramdisk, ramdisk.error());
  if (unpack) {
    auto image = platform::read_kernel(*kernel);
    if (!image) return at_key(config, "kernel", config.kernel, image.error());
    images.kernel = std::make_shared<const platform::KernelImage>(std::move(*image));
  }
  if (config.ramdisk.empty()) return images;
  images.ramdisk = std::make_shared<const std::vector<u8>>(std::move(*ramdisk));
  return images;
}

}  // namespace

tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, bool unpack) {
  return make_images(config, read_regular(config.kernel, most_kernel),
                     config.ramdisk.empty() ? Bytes{} : read_regular(config.ramdisk, most_ramdisk(config)), unpack);
}

tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, int kernel, int ramdisk) {
  return make_images(config, read_within(kernel, most_kernel),
                     config.ramdisk.empty() ? Bytes{} : read_within(ramdisk, most_ramdisk(config)), true);
}

}  // namespace cloister::toolstack
