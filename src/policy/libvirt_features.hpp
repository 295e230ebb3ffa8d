// Features that libvirt's map has a word for and our table of features no row: bits of MSRs (SDM vol. 4, table 2-2;
// vol. 3D, appendix A), of leaves that nobody is levelled by, and those that mirror how a system was set up. So a name
// of libvirt's is known as one where its map is not installed, or is an older one.
#pragma once

#include "policy/cpu_map.hpp"

namespace cloister::policy {

/// Of all versions up to libvirt 12; without models.
const CpuMap& more_of_libvirts_features();

}  // namespace cloister::policy
