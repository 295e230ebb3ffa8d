// Guest-physical memory: slots of RAM and EPC, and the devices' door.
#include "silicon/mmu/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "silicon/mmu/guest_bytes.hpp"

namespace cloister::silicon {

using arch::page_base;
using arch::page_mask;
using arch::page_offset;
using arch::page_size;

void Unmapper::operator()(u8* p) const { ::munmap(p, bytes); }

HostMapping map_host(u64 bytes) {
  void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return HostMapping{nullptr, Unmapper{0}};
  return HostMapping{static_cast<u8*>(p), Unmapper{bytes}};
}

tl::expected<void, MapError> GuestMemory::Impl::add(Slot slot) {
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

tl::expected<void, MapError> GuestMemory::Impl::add_borrowed(u64 base, std::span<u8> ram) {
  Slot slot;
  slot.base = base;
  slot.bytes = ram.size();
  slot.host = ram.data();
  return add(std::move(slot));
}

tl::expected<void, MapError> GuestMemory::Impl::remove(u64 base, u64 bytes) {
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

const Slot* GuestMemory::Impl::find(u64 gpa) const {
  const auto after = std::ranges::upper_bound(slots_, gpa, {}, &Slot::base);
  if (after == slots_.begin()) return nullptr;
  const Slot& s = *std::prev(after);
  return s.contains(gpa) ? &s : nullptr;
}

GuestMemory::Impl::RamPage GuestMemory::Impl::ram_page(u64 gpa) const {
  const Slot* const s = find(gpa);
  if (s == nullptr || s->host == nullptr) return {};
  const u64 page = (gpa - s->base) / page_size;
  return {s->host + page * page_size, &s->pages[page]};
}

GuestMemory::GuestMemory() : impl_(std::make_unique<Impl>()) {}
GuestMemory::~GuestMemory() = default;

tl::expected<void, MapError> GuestMemory::map_ram(Gpa base, u64 bytes) {
  Slot slot;
  slot.base = base.value;
  slot.bytes = bytes;
  slot.mapping = map_host(bytes);
  if (slot.mapping == nullptr) return tl::unexpected(MapError::no_memory);
  slot.host = slot.mapping.get();
  return impl_->add(std::move(slot));
}

tl::expected<void, MapError> GuestMemory::map_epc(Gpa base, Mfn first, u64 pages) {
  Slot slot;
  slot.base = base.value;
  slot.bytes = pages * page_size;
  slot.first_frame = first;
  return impl_->add(std::move(slot));
}

tl::expected<void, MapError> GuestMemory::unmap(Gpa base, u64 bytes) { return impl_->remove(base.value, bytes); }

namespace {
/// Calls f(page, offset in page, offset in the range, bytes) for every page; false if one is not RAM.
template <class F>
bool for_each_page(const GuestMemory::Impl& memory, u64 gpa, u64 bytes, F&& f) {
  if (gpa + bytes < gpa) return false;
  for (u64 done = 0; done < bytes;) {
    const u64 at = gpa + done;
    const u64 n = std::min(bytes - done, page_size - page_offset(at));
    const auto page = memory.ram_page(at);
    if (page.host == nullptr) return false;
    f(page, page_offset(at), done, n);
    done += n;
  }
  return true;
}
}  // namespace

bool GuestMemory::read(Gpa from, std::span<std::byte> to) const {
  const SharedLock lock(impl_->door);
  return for_each_page(*impl_, from.value, to.size(), [&](const Impl::RamPage& page, u64 offset, u64 done, u64 n) {
    copy_guest(to.data() + done, page.host + offset, n);
  });
}

bool GuestMemory::write(Gpa to, std::span<const std::byte> from) {
  const SharedLock lock(impl_->door);
  const auto nothing = [](const Impl::RamPage&, u64, u64, u64) {};
  if (!for_each_page(*impl_, to.value, from.size(), nothing)) return false;
  return for_each_page(*impl_, to.value, from.size(), [&](const Impl::RamPage& page, u64 offset, u64 done, u64 n) {
    copy_guest(page.host + offset, from.data() + done, n);
    page_store(*page.state);
  });
}

std::optional<u64> GuestMemory::compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) {
  const SharedLock lock(impl_->door);
  if ((bytes != 4 && bytes != 8) || at.value % bytes != 0) return std::nullopt;
  const Impl::RamPage page = impl_->ram_page(at.value);
  if (page.host == nullptr) return std::nullopt;
  const auto exchange = [&]<class T>(T found) {
    T* const place = reinterpret_cast<T*>(page.host + page_offset(at.value));
    if (__atomic_compare_exchange_n(place, &found, static_cast<T>(desired), false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED)) {
      page_store(*page.state);
    }
    return u64{found};
  };
  return bytes == 4 ? exchange(static_cast<u32>(expected)) : exchange(expected);
}

}  // namespace cloister::silicon
