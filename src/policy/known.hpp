// What is known of a yes-or-no question when evidence may be missing: a dump that stops short says neither.
#pragma once

#include "arch/types.hpp"

namespace cloister::policy {

enum class Known : u8 { no, yes, unknown };

}  // namespace cloister::policy
