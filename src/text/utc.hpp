// The time as records and answers have it.
#pragma once

#include <string>

namespace cloister::toolstack {

/// RFC 3339, in UTC, to the second.
std::string utc_now();

}  // namespace cloister::toolstack
