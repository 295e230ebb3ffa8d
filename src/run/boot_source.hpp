// Where a domain with a bootloader has its kernel from, for `cloister run`: a process of its own looks at its first
// disk.
#pragma once

#include <tl/expected.hpp>

#include "plan/images.hpp"

namespace cloister::toolstack {

class BootSource {
 public:
  /// Starts that process, with the rights of this one; of a domain without a bootloader: nothing. This process has one
  /// thread.
  static tl::expected<BootSource, Diagnostic> start(const DomainConfig& config);

  /// What the disk says now is put among the images, before each start; of one that goes on (`starts` false) it is in
  /// its RAM.
  tl::expected<void, Diagnostic> look(const DomainConfig& config, Images& images, bool starts) const;

 private:
  Fd reader_;
};

}  // namespace cloister::toolstack
