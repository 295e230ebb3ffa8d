// Bytes are atomics without order: a reader in another process sees old or new ones, each whole.
#include "protocol/domain_page.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <new>

namespace cloister::toolstack {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr std::size_t bytes = sizeof(DomainPageLayout);
/// This version's, and those of earlier ones.
constexpr std::size_t known_bytes[] = {bytes, offsetof(DomainPageLayout, balloon), offsetof(DomainPageLayout, epc)};

}  // namespace

DomainPageLayout& DomainPage::page() const { return *std::launder(static_cast<DomainPageLayout*>(mapping_.data())); }

tl::expected<DomainPage, std::string> DomainPage::create() {
  Fd fd = fixed_memfd("cloister-domain", bytes);
  SharedMapping mapping(fd.get(), bytes);
  if (mapping.data() == nullptr) return tl::unexpected(std::string("no memory for the domain's page"));
  auto* const page = new (mapping.data()) DomainPageLayout{};
  page->magic = DomainPageLayout::current_magic;
  return DomainPage(std::move(fd), std::move(mapping), bytes);
}

tl::expected<DomainPage, std::string> DomainPage::adopt(int descriptor) {
  const auto has =
      std::ranges::find_if(known_bytes, [descriptor](std::size_t size) { return is_fixed_memfd(descriptor, size); });
  if (has == std::end(known_bytes)) return tl::unexpected(std::string("not a domain's page"));
  Fd fd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  SharedMapping mapping(fd.get(), *has);
  if (mapping.data() == nullptr) return tl::unexpected(std::string("no memory for the domain's page"));
  DomainPage adopted(std::move(fd), std::move(mapping), *has);
  if (adopted.page().magic != DomainPageLayout::current_magic)
    return tl::unexpected(std::string("a domain's page of another version"));
  return adopted;
}

DomainState DomainPage::state() const {
  const u32 last = static_cast<u32>(DomainState::restarting);
  return static_cast<DomainState>(std::min(page().state.load(), last));
}
void DomainPage::set_state(DomainState state) { page().state = static_cast<u32>(state); }

std::optional<hypervisor::Ending> DomainPage::ending() const {
  const u32 value = page().ending.load();
  if (value == 0 || value > static_cast<u32>(hypervisor::Ending::halted) + 1) return std::nullopt;
  return static_cast<hypervisor::Ending>(value - 1);
}

std::string DomainPage::report() const {
  const std::size_t size = std::min<std::size_t>(page().report_bytes.load(), DomainPageLayout::most_report);
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(page().report[i].load(relaxed));
  return text;
}

void DomainPage::set_ending(hypervisor::Ending ending, const std::string& report) {
  const std::size_t size = std::min(report.size(), DomainPageLayout::most_report);
  for (std::size_t i = 0; i < size; ++i) page().report[i].store(static_cast<u8>(report[i]), relaxed);
  page().report_bytes = static_cast<u32>(size);
  page().ending = static_cast<u32>(ending) + 1;
  set_state(DomainState::ended);
}

u32 DomainPage::restarts() const { return page().restarts; }
void DomainPage::add_restart() { ++page().restarts; }

void DomainPage::append_console(std::span<const u8> text) {
  u64 at = page().console_written.load(relaxed);
  for (const u8 byte : text) page().console[at++ % DomainPageLayout::console_bytes].store(byte, relaxed);
  page().console_written = at;
}

std::string DomainPage::console() const {
  const u64 end = page().console_written.load();
  const u64 start = end - std::min<u64>(end, DomainPageLayout::console_bytes);
  std::string text;
  text.reserve(end - start);
  for (u64 at = start; at != end; ++at)
    text += static_cast<char>(page().console[at % DomainPageLayout::console_bytes].load(relaxed));
  return text;
}

}  // namespace cloister::toolstack
