#include "hypervisor/saving/ram.hpp"

#include <fmt/format.h>

#include <cstring>

#include "arch/try.hpp"

namespace cloister::hypervisor {
namespace {

constexpr std::size_t address_bytes = sizeof(u64);

}  // namespace

bool is_zero(const RamRows::Page& page) {
  // Each byte is zero, and the one before it.
  return page.front() == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0;
}

tl::expected<void, std::string> RamRows::add(arch::Gpa at, const Page& page) {
  if (!bytes_.empty() && (at != next_ || pages_ == stream::most_ram_pages)) TRY(flush());
  if (bytes_.empty()) {
    const std::vector<u8> address = stream::encode(at.value);
    bytes_.insert(bytes_.end(), address.begin(), address.end());  // into memory of the record before
  }
  const auto* const from = reinterpret_cast<const u8*>(page.data());
  bytes_.insert(bytes_.end(), from, from + page.size());
  next_ = at + arch::page_size;
  ++pages_;
  return {};
}

tl::expected<void, std::string> RamRows::flush() {
  if (bytes_.empty()) return {};
  TRY(to_.record(stream::Kind::ram, bytes_));
  bytes_.clear();
  pages_ = 0;
  return {};
}

tl::expected<void, std::string> save_ram(const vmx::GuestMemory& memory, const platform::MemoryMap& map,
                                         stream::Writer& to) {
  RamRows row(to);
  RamRows::Page page;
  for (const auto& range : platform::ram_backing(map)) {
    const auto written = memory.written(range.base, range.bytes / arch::page_size);
    for (u64 index = 0; index < written.size(); ++index) {
      if (!written[index]) continue;
      const arch::Gpa at = range.base + index * arch::page_size;
      if (!memory.read(at, page)) return tl::unexpected(fmt::format("there is no RAM at {:#x}", at.value));
      if (!is_zero(page)) TRY(row.add(at, page));
    }
  }
  return row.flush();
}

tl::expected<void, std::string> load_ram(vmx::GuestMemory& memory, const stream::Record& record) {
  using stream::Reader;
  const std::span<const u8> body(record.body);
  if (body.size() < address_bytes || (body.size() - address_bytes) % arch::page_size != 0)
    return tl::unexpected(Reader::wrong(record, "expected an address and whole pages"));
  const u64 at = stream::decode<u64>(body.first(address_bytes)).value_or(0);
  if (!memory.write(arch::Gpa{at}, std::as_bytes(body.subspan(address_bytes))))
    return tl::unexpected(Reader::wrong(record, fmt::format("the domain has no RAM at {:#x}", at)));
  return {};
}

}  // namespace cloister::hypervisor
