// A domain's RAM in a stream: rows of pages that are not all zeros.
#pragma once

#include <array>
#include <cstddef>

#include "arch/sizes.hpp"
#include "hypervisor/specification.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"
#include "vmx/memory.hpp"

namespace cloister::hypervisor {

tl::expected<void, std::string> save_ram(const vmx::GuestMemory& memory, const platform::MemoryMap& map,
                                         stream::Writer& to);
/// Pages that come one after the other, by their addresses, and go as rows of records.
class RamRows {
 public:
  explicit RamRows(stream::Writer& to) : to_(to) {}
  using Page = std::array<std::byte, arch::page_size>;

  tl::expected<void, std::string> add(arch::Gpa at, const Page& page);
  /// What is waiting for its record.
  tl::expected<void, std::string> flush();

 private:
  stream::Writer& to_;
  std::vector<u8> bytes_;
  arch::Gpa next_{};
  u32 pages_ = 0;
};
bool is_zero(const RamRows::Page& page);
/// Puts a record's pages where they were.
tl::expected<void, std::string> load_ram(vmx::GuestMemory& memory, const stream::Record& record);

}  // namespace cloister::hypervisor
