// A domain's RAM in a stream: rows of pages that are not all zeros.
#pragma once

#include "hypervisor/specification.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"
#include "vmx/memory.hpp"

namespace cloister::hypervisor {

tl::expected<void, std::string> save_ram(const vmx::GuestMemory& memory, const platform::MemoryMap& map,
                                         stream::Writer& to);
/// Puts a record's pages where they were.
tl::expected<void, std::string> load_ram(vmx::GuestMemory& memory, const stream::Record& record);

}  // namespace cloister::hypervisor
