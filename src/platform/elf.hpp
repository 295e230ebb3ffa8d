// The part of an ELF that a PVH loader needs (System V gABI, chapters 4 and 5; Xen's public elfnote.h): loadable
// segments and the physical entry of Xen's note PHYS32_ENTRY.
#pragma once

#include "platform/pvh.hpp"

namespace cloister::platform {

/// Fills in entry and segments of an image that holds the file; the error names what lies where it must not.
tl::expected<KernelImage, std::string> read_elf(std::vector<u8> file);

}  // namespace cloister::platform
