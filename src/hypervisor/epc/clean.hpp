// Taking a domain's EPC back (the Xen design's 2.2.10): every page is EREMOVEd before its frame has another owner.
#pragma once

#include <span>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::hypervisor {

/// EREMOVEs all pages of the sections that were ever used (vmx::used_epc), which is what it costs; SECS pages that
/// still have children are tried again after all others. No processor of the domain runs. Returns the frames that could
/// not be removed: they must not be given away.
std::vector<vmx::Mfn> clean_epc(vmx::Package& package, std::span<const vmx::EpcSection> sections);

}  // namespace cloister::hypervisor
