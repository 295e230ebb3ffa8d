// Where the software silicon is got, as an implementation of vmx/. For tools and tests.
#pragma once

#include "vmx/backend.hpp"

namespace cloister::silicon {

/// One for the whole process; needs nothing of the host.
const vmx::Backend& backend();

}  // namespace cloister::silicon
