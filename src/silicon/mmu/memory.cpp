// Guest-physical memory: slots of RAM and EPC, and the devices' door.
#include "silicon/mmu/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "silicon/memory/guest_bytes.hpp"

namespace cloister::silicon {

using arch::page_base;
using arch::page_mask;
using arch::page_offset;
using arch::page_size;

tl::expected<void, MapError> MemoryImpl::add(Slot slot) {
  if ((slot.base & page_mask) != 0 || (slot.bytes & page_mask) != 0 || slot.bytes == 0 ||
      slot.base + slot.bytes < slot.base) {
    return tl::unexpected(MapError::misaligned);
  }
  const Hold hold(shootdown);
  const ExclusiveLock lock(door);
  const auto after = std::ranges::lower_bound(slots_, slot.base, {}, &Slot::base);
  if (after != slots_.end() && after->base - slot.base < slot.bytes) return tl::unexpected(MapError::overlap);
  if (after != slots_.begin() && std::prev(after)->contains(slot.base)) return tl::unexpected(MapError::overlap);
  if (slot.host != nullptr) slot.pages = std::make_unique<PageState[]>(slot.bytes / page_size);
  slots_.insert(after, std::move(slot));
  return {};
}

tl::expected<void, MapError> MemoryImpl::add_borrowed(u64 base, std::span<u8> ram) {
  Slot slot;
  slot.base = base;
  slot.bytes = ram.size();
  slot.host = ram.data();
  return add(std::move(slot));
}

tl::expected<void, MapError> MemoryImpl::remove(u64 base, u64 bytes) {
  if ((base & page_mask) != 0 || (bytes & page_mask) != 0 || base + bytes < base) {
    return tl::unexpected(MapError::misaligned);
  }
  std::vector<Slot> gone;  // ends when nobody knows of it any more
  const Hold hold(shootdown);
  const ExclusiveLock lock(door);
  const auto in_range = [&](const Slot& s) { return s.base < base + bytes && base < s.base + s.bytes; };
  const auto whole = [&](const Slot& s) { return s.base >= base && s.base + s.bytes <= base + bytes; };
  for (const Slot& s : slots_) {
    if (in_range(s) && !whole(s)) return tl::unexpected(MapError::partial);
  }
  const auto first = std::ranges::find_if(slots_, in_range);
  const auto last = std::find_if_not(first, slots_.end(), in_range);
  if (first == last) return {};
  gone.assign(std::move_iterator(first), std::move_iterator(last));
  slots_.erase(first, last);
  forget_everywhere();
  return {};
}

const Slot* MemoryImpl::find(u64 gpa) const {
  const auto after = std::ranges::upper_bound(slots_, gpa, {}, &Slot::base);
  if (after == slots_.begin()) return nullptr;
  const Slot& s = *std::prev(after);
  return s.contains(gpa) ? &s : nullptr;
}

MemoryImpl::RamPage MemoryImpl::ram_page(u64 gpa) const {
  const Slot* const s = find(gpa);
  if (s == nullptr || s->host == nullptr) return {};
  const u64 page = (gpa - s->base) / page_size;
  return {s->host + page * page_size, &s->pages[page]};
}

const Slot* MemoryImpl::epc_slot(u64 gpa) const {
  const Slot* const s = find(gpa);
  return page_offset(gpa) != 0 || s == nullptr || s->host != nullptr ? nullptr : s;
}

void MemoryImpl::keep_flags(bool on) {
  keeps_flags_.store(on, std::memory_order_relaxed);
  invalidate();
  stop_inline_stores();
}

std::vector<bool> MemoryImpl::take_flags(u64 base, u64 pages, u64 flag) {
  std::vector<bool> taken(pages);
  const SharedLock lock(door);
  for (u64 i = 0; i < pages; ++i) {
    const u64 at = base + i * page_size;
    const Slot* const s = find(at);
    if (s == nullptr) continue;
    const u64 page = s->page_of(at);
    if (s->host == nullptr) {
      taken[i] = s->entry(page).take(flag);
    } else {
      PageState& state = s->pages[page];
      taken[i] = flag == EptEntry::dirty ? page_take_dirty(state)
                                         : state.accessed.load(std::memory_order_relaxed) &&
                                               state.accessed.exchange(false, std::memory_order_seq_cst);
    }
  }
  return taken;
}

std::vector<bool> MemoryImpl::written(u64 base, u64 pages) const {
  std::vector<bool> all(pages);
  const SharedLock lock(door);
  for (u64 i = 0; i < pages; ++i) {
    const RamPage page = ram_page(base + i * page_size);
    all[i] = page.host != nullptr && page_written(*page.state);
  }
  return all;
}

}  // namespace cloister::silicon
