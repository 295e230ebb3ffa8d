// Files of saved domains, as those see them who save and who restore.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "daemon/checked_request.hpp"
#include "daemon/secrets.hpp"
#include "stream/sealing.hpp"

namespace cloister::toolstack {

/// The key of a file is its id's, by the secret that is this state folder's alone.
stream::SealKey key_of_file(const WrapSecret& wrap, const stream::SealId& id);
/// Where the file of a request is.
tl::expected<std::string, ApiError> absolute_path(const FileRequest& request);
ApiError unusable_file(const std::string& path, const std::string& why);

}  // namespace cloister::toolstack
