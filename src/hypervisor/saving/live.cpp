#include "hypervisor/saving/live.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "hypervisor/machine.hpp"
#include "hypervisor/saving/enclaves.hpp"
#include "hypervisor/saving/ram.hpp"
#include "hypervisor/saving/save.hpp"
#include "hypervisor/saving/state.hpp"

namespace cloister::hypervisor {

using Done = tl::expected<void, std::string>;

namespace {

/// A batch of the pager's.
constexpr std::size_t early_pages = 16;
/// Against some dozens of microseconds in which a page leaves: a processor has few back until all have left.
constexpr u32 slow_us = 1000;

}  // namespace

LiveCopy::~LiveCopy() {
  if (!enclaves_) return;
  machine_.epc_wait_us = 0;
  machine_.movable_epc()->end_early();
}

Done LiveCopy::begin(bool enclaves) {
  enclaves_ = enclaves;
  if (enclaves_) {
    early_.resize(early_pages);
    machine_.movable_epc()->begin_early();
  }
  for (const auto& range : platform::ram_backing(machine_.spec.map))
    ranges_.push_back({range.base, std::vector<bool>(range.bytes / arch::page_size)});
  return to_.value(stream::Kind::domain, shape_of(machine_.spec));
}

u64 LiveCopy::look() {
  u64 pages = 0;
  for (Range& range : ranges_) {
    // The log first: what is stored from here on is in the next one.
    const auto dirty = machine_.memory.take_dirty(range.base, range.pages.size());
    const auto changed = first_ ? machine_.memory.written(range.base, range.pages.size()) : dirty;
    for (std::size_t i = 0; i < range.pages.size(); ++i) {
      range.pages[i] = range.pages[i] || changed[i];
      pages += range.pages[i] ? 1 : 0;
    }
  }
  return pages;
}

Done LiveCopy::send() {
  RamRows rows(to_);
  RamRows::Page page;
  for (Range& range : ranges_) {
    for (std::size_t i = 0; i < range.pages.size(); ++i) {
      if (!range.pages[i]) continue;
      const arch::Gpa at = range.base + i * arch::page_size;
      if (!machine_.memory.read(at, page)) return tl::unexpected(fmt::format("there is no RAM at {:#x}", at.value));
      if (!first_ || !is_zero(page)) TRY(rows.add(at, page));
      range.pages[i] = false;
    }
  }
  first_ = false;
  return rows.flush();
}

u64 LiveCopy::epc_left() const { return enclaves_ ? machine_.movable_epc()->left() : 0; }

tl::expected<u64, std::string> LiveCopy::send_epc(bool hot) {
  u64 all = 0;
  if (!enclaves_) return all;
  MovableEpc& epc = *machine_.movable_epc();
  machine_.epc_wait_us = hot && again_ ? slow_us : 0;
  again_ = true;
  epc.begin_pass();
  while (const std::size_t pages = epc.leave_early(hot, early_)) {
    for (EarlyPage& page : std::span(early_).first(pages))
      TRY(write_epc_page(page.page, {.bytes = page.image.bytes, .pcmd = page.image.pcmd}, to_));
    all += pages;
  }
  return all;
}

Done LiveCopy::send_rest() {
  TRY(to_.record(stream::Kind::still, {}));
  TRY(save_parts(machine_, to_));
  look();
  return send();
}

Done LiveCopy::finish() {
  TRY(send_rest());
  return to_.end();
}

Done LiveCopy::finish_but_root() {
  TRY(send_rest());
  root_ = TRY(write_enclaves(machine_, to_, Sent::early));
  const Done written = to_.record(stream::Kind::all_but_root, {});
  if (written) return {};
  const Done back = hypervisor::keep_enclaves(machine_);
  return tl::unexpected(back ? written.error() : written.error() + "; and then: " + back.error());
}

Done LiveCopy::finish_with_root(const vmx::MoveSession& session, bool& left) {
  TRY(export_enclaves(machine_, root_, to_, session, left));
  return to_.end();
}

Done LiveCopy::keep_enclaves() { return hypervisor::keep_enclaves(machine_); }

Done load_rounds(Machine& machine, stream::Reader& from, ArrivingEnclaves* enclaves) {
  for (;;) {
    const auto record = TRY(from.next());
    if (record.kind == stream::Kind::still) return {};
    if (record.kind == stream::Kind::epc_page && enclaves != nullptr) {
      TRY(enclaves->add(record));
      continue;
    }
    if (record.kind != stream::Kind::ram) return tl::unexpected(stream::Reader::wrong(record, "expected ram or still"));
    TRY(load_ram(machine.memory, record));
  }
}

}  // namespace cloister::hypervisor
