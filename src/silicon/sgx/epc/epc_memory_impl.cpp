// EPC memory: made, adopted, and taken over from processors that are no more.
#include "silicon/sgx/epc/epc_memory_impl.hpp"

#include <sys/mman.h>

#include <cstring>

#include "arch/try.hpp"
#include "silicon/sgx/epc/page_info.hpp"

namespace cloister::silicon {

namespace {

/// Zero bytes are a free entry, and that is what a new file holds.
void put_header(EpcmHeader& header, u64 pages) {
  header.pages = pages;
  header.entry_bytes = sizeof(EpcmEntry);
  header.layout = EpcmHeader::expected_layout;
  header.magic = EpcmHeader::expected_magic;
}

/// Its bytes are values of their types: whatever a process did to the memory, reading the entry is defined.
bool well_formed(const EpcmEntry& entry) {
  std::array<u8, sizeof(EpcmEntry)> bytes;
  std::memcpy(bytes.data(), static_cast<const void*>(&entry), bytes.size());
  for (std::size_t at = epcm_flags_at; at < epcm_flags_at + epcm_flags; ++at) {
    if (bytes[at] > 1) return false;
  }
  return bytes[offsetof(EpcmEntry, type)] <= static_cast<u8>(arch::PageType::ss_rest);
}

void free_entry(EpcmEntry& entry) { new (&entry) EpcmEntry{}; }

}  // namespace

bool epcm_header_fits(int descriptor, u64 pages) {
  struct {
    u64 magic;
    u32 layout, entry_bytes;
    u64 pages;
  } h{};
  static_assert(sizeof h == offsetof(EpcmHeader, counts));
  return ::pread(descriptor, &h, sizeof h, 0) == static_cast<ssize_t>(sizeof h) &&
         h.magic == EpcmHeader::expected_magic && h.layout == EpcmHeader::expected_layout &&
         h.entry_bytes == sizeof(EpcmEntry) && h.pages == pages;
}

tl::expected<EpcMemory::Pointer, MemoryError> EpcMemory::Impl::map(Fd pages_file, Fd epcm_file, u64 pages) {
  auto impl = std::make_unique<Impl>();
  const u64 bytes = pages * arch::page_size;
  auto page_bytes = TRY(pages_file ? map_sealed(pages_file, bytes) : map_host(bytes));
  auto epcm = TRY(map_sealed(epcm_file, epcm_bytes(pages)));
  if (pages != 0 && page_bytes == nullptr) return tl::unexpected(MemoryError::no_memory);
  // A frame that is given back takes its memory with it, and none of its neighbours': no huge pages. A kernel without
  // them need not be told.
  if (pages != 0) ::madvise(page_bytes.get(), bytes, MADV_NOHUGEPAGE);
  ::madvise(epcm.get(), epcm_bytes(pages), MADV_NOHUGEPAGE);
  impl->pages = pages;
  impl->pages_file = std::move(pages_file);
  impl->epcm_file = std::move(epcm_file);
  impl->page_bytes_ = std::move(page_bytes);
  impl->epcm_ = std::move(epcm);
  return std::make_shared<EpcMemory>(std::move(impl));
}

tl::expected<EpcMemory::Pointer, MemoryError> EpcMemory::Impl::create_private(u64 pages) {
  auto epcm_file = TRY(make_sealed("cloister-epcm", epcm_bytes(pages)));
  auto memory = map({}, std::move(epcm_file), pages);
  if (memory) put_header((*memory)->impl().header(), pages);
  return memory;
}

tl::expected<EpcMemory::Pointer, MemoryError> EpcMemory::create(u64 pages) {
  if (pages >= Impl::most_pages) return tl::unexpected(MemoryError::no_memory);
  auto pages_file = TRY(make_sealed("cloister-epc", pages * arch::page_size));
  auto epcm_file = TRY(make_sealed("cloister-epcm", Impl::epcm_bytes(pages)));
  auto memory = Impl::map(std::move(pages_file), std::move(epcm_file), pages);
  if (memory) put_header((*memory)->impl().header(), pages);
  return memory;
}

tl::expected<EpcMemory::Pointer, MemoryError> EpcMemory::adopt(int pages_descriptor, int epcm_descriptor, u64 pages) {
  if (pages >= Impl::most_pages) return tl::unexpected(MemoryError::wrong_size);
  auto pages_file = TRY(borrow_sealed(pages_descriptor, pages * arch::page_size));
  auto epcm_file = TRY(borrow_sealed(epcm_descriptor, Impl::epcm_bytes(pages)));
  if (!epcm_header_fits(epcm_file.get(), pages)) return tl::unexpected(MemoryError::wrong_layout);
  return Impl::map(std::move(pages_file), std::move(epcm_file), pages);
}

EpcMemory::EpcMemory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EpcMemory::~EpcMemory() = default;
u64 EpcMemory::pages() const { return impl_->pages; }
int EpcMemory::pages_descriptor() const { return impl_->pages_file.get(); }
int EpcMemory::epcm_descriptor() const { return impl_->epcm_file.get(); }

void EpcMemory::Impl::reset_processors() {
  for_each_used([](EpcmEntry& entry) {
    if (!well_formed(entry) || !entry.valid) return free_entry(entry);
    entry.children = entry.threads_now = entry.threads_before = 0;
    for (PageLock* const lock :
         {&entry.lock, &entry.sgx2_lock, &entry.build_lock, &entry.track_lock, &entry.entry_lock})
      lock->reset();
  });
  for_each_used([&](EpcmEntry& entry) {
    if (!entry.valid || !has_owner(entry.type)) return;
    const bool owned =
        entry.secs < pages && entries()[entry.secs].valid && entries()[entry.secs].type == arch::PageType::secs;
    if (!owned) return free_entry(entry);
    ++entries()[entry.secs].children;
  });
}

}  // namespace cloister::silicon
