// Guest memory at the door: slots are mapped and unmapped, and the devices' accesses.
#include <algorithm>
#include <cstring>

#include "silicon/memory/guest_bytes.hpp"
#include "silicon/mmu/memory.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

using arch::page_base;
using arch::page_mask;
using arch::page_offset;
using arch::page_size;

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

namespace {
tl::expected<void, MapError> add_epc(MemoryImpl& memory, Gpa base, u64 pages, std::optional<Mfn> first) {
  Slot slot;
  slot.base = base.value;
  slot.bytes = pages * page_size;
  slot.first_frame = first;
  if (slot.bytes / page_size != pages) return tl::unexpected(MapError::misaligned);
  // Entries that nobody touches cost nothing.
  slot.mapping = map_host(std::max<u64>(pages, 1) * sizeof(EptEntry));
  if (slot.mapping == nullptr) return tl::unexpected(MapError::no_memory);
  return memory.add(std::move(slot));
}
}  // namespace

tl::expected<void, MapError> GuestMemory::map_epc(Gpa base, Mfn first, u64 pages) {
  return add_epc(*impl_, base, pages, first);
}

tl::expected<void, MapError> GuestMemory::reserve_epc(Gpa base, u64 pages) {
  return add_epc(*impl_, base, pages, std::nullopt);
}

tl::expected<void, MapError> GuestMemory::map_epc(Gpa page, Mfn frame) {
  if (page_offset(page.value) != 0) return tl::unexpected(MapError::misaligned);
  const SharedLock lock(impl_->door);
  const Slot* const slot = impl_->epc_slot(page.value);
  if (slot == nullptr) return tl::unexpected(MapError::not_epc);
  if (!slot->map(slot->page_of(page.value), frame)) return tl::unexpected(MapError::overlap);
  return {};
}

std::optional<Mfn> GuestMemory::unmap_epc(Gpa page) {
  const SharedLock lock(impl_->door);
  const Slot* const slot = impl_->epc_slot(page.value);
  const auto frame = slot != nullptr ? slot->unmap(slot->page_of(page.value)) : std::nullopt;
  if (frame) impl_->invalidate();
  return frame;
}

void GuestMemory::set_accessed_dirty(bool on) { impl_->keep_flags(on); }

std::vector<bool> GuestMemory::take_accessed(Gpa base, u64 pages) {
  return impl_->take_flags(base.value, pages, EptEntry::accessed);
}

std::vector<bool> GuestMemory::take_dirty(Gpa base, u64 pages) {
  auto taken = impl_->take_flags(base.value, pages, EptEntry::dirty);
  impl_->stop_inline_stores();
  return taken;
}

tl::expected<void, MapError> GuestMemory::unmap(Gpa base, u64 bytes) { return impl_->remove(base.value, bytes); }

namespace {
/// Calls f(page, offset in page, offset in the range, bytes) for every page; false if one is not RAM.
template <class F>
bool for_each_page(const MemoryImpl& memory, u64 gpa, u64 bytes, F&& f) {
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

std::vector<bool> GuestMemory::written(Gpa base, u64 pages) const { return impl_->written(base.value, pages); }

}  // namespace cloister::silicon
