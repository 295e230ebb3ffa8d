// Memory of EPC that is nobody's goes back to the host, while a package runs on the rest.
#pragma once

#include <span>

#include "silicon/sgx/epc/epc_memory.hpp"
#include "vmx/backend.hpp"

namespace cloister::silicon {

/// As vmx::Backend's discard_epc().
bool discard_epc(const vmx::EpcMemory& memory, const vmx::EpcRow& row, std::span<const vmx::EpcRow> kept);
/// As vmx::Backend's epc_beyond().
u64 epc_beyond(const vmx::EpcMemory& memory, std::span<const vmx::EpcRow> pages);

}  // namespace cloister::silicon
