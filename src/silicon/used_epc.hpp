// Which of a package's EPC frames were ever used. Part of the silicon's door: what a hypervisor on hardware would note
// by itself for each frame that it gives away, the memory of the EPCM knows here.
#pragma once

#include <vector>

#include "silicon/silicon.hpp"

namespace cloister::silicon {

/// The frames that may have an EPCM entry which is not free, and those that are faulty, in ascending order, disjoint;
/// all others have never been used since their memory was made. Costs what these are, however large the EPC is. Any
/// thread.
std::vector<EpcSection> used_epc(Package& package);

}  // namespace cloister::silicon
