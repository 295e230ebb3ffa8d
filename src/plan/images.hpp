// The files that a domain starts from.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "host/fd.hpp"
#include "platform/pvh.hpp"
#include "platform/virtio/block.hpp"
#include "platform/virtio/net.hpp"
#include "platform/virtio/vsock.hpp"

namespace cloister::toolstack {

struct Images {
  std::shared_ptr<const platform::KernelImage> kernel;
  std::shared_ptr<const std::vector<u8>> packed{};  ///< kernel as its file has it; null: it comes from elsewhere
  std::shared_ptr<const std::vector<u8>> ramdisk;   ///< null: none
  std::optional<std::string> cmdline{};             ///< of the bootloader's, before the configuration's own
  std::vector<platform::virtio::BlockConfig> disks;
  std::vector<platform::virtio::NetConfig> interfaces{};  ///< plan/interfaces.hpp makes them
  platform::virtio::VsockConfig vsock{.peers = nullptr};  ///< plan/vsock.hpp does
};

/// A disk that cannot be had, at its element.
Diagnostic cannot_use(const DiskConfig& disk, const std::string& why);
/// Who keeps a domain from one of its disks: another one of its own, of which these are open, the domain that is named,
/// if one is, or another program.
std::string who_uses(const DomainConfig& config, std::span<const std::string> open, const std::string& identity,
                     const std::string& path, const std::string& domain = {});

/// Reads the files that the configuration names, and locks its disks; errors stand at their keys. With `unpack` false
/// the kernel is only read, and disks are only opened. With a bootloader kernel and ramdisk come later
/// (plan/boot_files.hpp).
tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, bool unpack);

/// The same from files that are open, and disks that are locked; ramdisk is ignored if the configuration has none. The
/// kernel stays packed: who starts a guest unpacks it.
tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, int kernel, int ramdisk,
                                             std::vector<Fd> disks);
tl::expected<void, Diagnostic> unpack_kernel(const DomainConfig& config, Images& images);

}  // namespace cloister::toolstack
