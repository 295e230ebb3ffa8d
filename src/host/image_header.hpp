// What the header of a disk's image says of other files: it is not whoever wrote it who decides what is opened.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "host/fd.hpp"

namespace cloister::toolstack {

/// Why this image is not to be served: its header names other files than `backing`, which is what the configuration
/// names as its backing file (empty: none), or does not name that one. Names in a header are relative to where the
/// image is, `path`. Of the header it reads where that would be, and nothing else.
tl::expected<void, std::string> check_image(const Fd& image, std::string_view format, const std::string& path = {},
                                            const std::string& backing = {});

}  // namespace cloister::toolstack
