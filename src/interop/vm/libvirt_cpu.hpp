// Reading <cpu> of libvirt's domain XML: mode, model, features, and the NUMA cells, which are in it.
#pragma once

#include "interop/vm/libvirt_elements.hpp"
#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

struct LibvirtCpu {
  Cpu cpu;
  std::optional<bool> provision;  ///< enclaves may have the provisioning key; absent: nobody said
  pugi::xml_node numa;            ///< null: there is none
  std::vector<GuestNode> cells;   ///< by their numbers, from 0 on; one may have no RAM
};
/// Errors are the reader's.
LibvirtCpu read_libvirt_cpu(LibvirtElements& in, pugi::xml_node cpu);

}  // namespace cloister::toolstack::vm
