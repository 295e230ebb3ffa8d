// The files that a domain starts from.
#pragma once

#include <memory>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "platform/pvh.hpp"

namespace cloister::toolstack {

struct Images {
  std::shared_ptr<const platform::KernelImage> kernel;
  std::shared_ptr<const std::vector<u8>> ramdisk;  ///< null: none
};

/// Reads the files that the configuration names; errors stand at their keys. With `unpack` false, the kernel is only
/// read.
tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, bool unpack);

/// The same from files that are open; ramdisk is ignored if the configuration has none.
tl::expected<Images, Diagnostic> read_images(const DomainConfig& config, int kernel, int ramdisk);

}  // namespace cloister::toolstack
