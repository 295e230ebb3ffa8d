// Bytes are atomics without order: a reader in another process sees old or new ones, each whole.
#include "protocol/domain_page.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <new>

namespace cloister::toolstack {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr std::size_t page_bytes = sizeof(DomainPageLayout);
/// This version's, and those of earlier ones.
constexpr std::size_t known_bytes[] = {page_bytes,
                                       offsetof(DomainPageLayout, goes_on),
                                       offsetof(DomainPageLayout, move_more),
                                       offsetof(DomainPageLayout, devices),
                                       offsetof(DomainPageLayout, move),
                                       offsetof(DomainPageLayout, save),
                                       offsetof(DomainPageLayout, balloon),
                                       offsetof(DomainPageLayout, epc)};

void put_text(std::span<std::atomic<u8>> room, std::atomic<u32>& length, std::string_view text) {
  const std::size_t size = std::min(text.size(), room.size());
  for (std::size_t i = 0; i < size; ++i) room[i].store(static_cast<u8>(text[i]), relaxed);
  length = static_cast<u32>(size);
}

std::string text_in(std::span<const std::atomic<u8>> room, const std::atomic<u32>& length) {
  std::string text(std::min<std::size_t>(length.load(), room.size()), '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(room[i].load(relaxed));
  return text;
}

}  // namespace

DomainPageLayout& DomainPage::page() const { return *std::launder(static_cast<DomainPageLayout*>(mapping_.data())); }

tl::expected<DomainPage, std::string> DomainPage::create() {
  Fd fd = fixed_memfd("cloister-domain", page_bytes);
  SharedMapping mapping(fd.get(), page_bytes);
  if (mapping.data() == nullptr) return tl::unexpected(std::string("no memory for the domain's page"));
  auto* const page = new (mapping.data()) DomainPageLayout{};
  page->magic = DomainPageLayout::current_magic;
  return DomainPage(std::move(fd), std::move(mapping), page_bytes);
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
  const u32 last = static_cast<u32>(DomainState::in_doubt);
  return static_cast<DomainState>(std::min(page().state.load(), last));
}
void DomainPage::set_state(DomainState state) { page().state = static_cast<u32>(state); }

std::optional<hypervisor::Ending> DomainPage::ending() const {
  const u32 value = page().ending.load();
  if (value == 0 || value > static_cast<u32>(hypervisor::Ending::saved) + 1) return std::nullopt;
  return static_cast<hypervisor::Ending>(value - 1);
}

std::string DomainPage::report() const { return text_in(page().report, page().report_bytes); }

void DomainPage::set_ending(hypervisor::Ending ending, const std::string& report) {
  put_text(page().report, page().report_bytes, report);
  page().ending = static_cast<u32>(ending) + 1;
  set_state(DomainState::ended);
}

std::string DomainPage::save_error() const {
  return save() == nullptr ? std::string() : text_in(save()->error, save()->error_bytes);
}

void DomainPage::start_save(u64 most_bytes) {
  save()->error_bytes = 0;
  save()->bytes = 0;
  save()->most_bytes = most_bytes;
}

void DomainPage::fail_save(const std::string& why) { put_text(save()->error, save()->error_bytes, why); }

MovePhase DomainPage::move_phase() const {
  if (move() == nullptr) return MovePhase::none;
  return static_cast<MovePhase>(std::min(move()->phase.load(), static_cast<u32>(last_move_phase)));
}

StoodStill DomainPage::stood_still() const {
  if (move_more() == nullptr) return StoodStill::not_yet;
  return static_cast<StoodStill>(std::min(move_more()->stood.load(), static_cast<u32>(last_stood_still)));
}

std::string DomainPage::move_session() const {
  std::string text;
  if (move() == nullptr) return text;
  for (const auto& byte : move()->session) {
    const u8 value = byte.load(relaxed);
    if (value != 0) text += static_cast<char>(value);
  }
  return text;
}

std::string DomainPage::move_error() const {
  return move() == nullptr ? std::string() : text_in(move()->error, move()->error_bytes);
}

void DomainPage::start_move(const std::string& session, bool enclaves) {
  MoveCounts& counts = *move();
  counts.error_bytes = 0;
  counts.round = 0;
  if (MoveMore* const more = move_more(); more != nullptr) more->epc_left = more->stood = 0;
  counts.enclaves = enclaves ? 1 : 0;
  counts.bytes = counts.pages_left = counts.bytes_a_second = counts.dirty_bytes_a_second = counts.pause_us = 0;
  for (std::size_t i = 0; i < counts.session.size(); ++i)
    counts.session[i].store(i < session.size() ? static_cast<u8>(session[i]) : u8{0}, relaxed);
  set_move_phase(MovePhase::copying);
}

void DomainPage::end_move(const std::string& why) {
  put_text(move()->error, move()->error_bytes, why);
  set_move_phase(MovePhase::over);
}

void DomainPage::wait_in_move(const std::string& why) {
  put_text(move()->error, move()->error_bytes, why);
  set_move_phase(MovePhase::sent);
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
