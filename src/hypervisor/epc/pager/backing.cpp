// One anonymous mapping, without a reserve of the host's memory. MADV_POPULATE_WRITE (Linux 5.14) says beforehand what
// a store could only say by SIGBUS or by the end of the process.
#include "hypervisor/epc/pager/backing.hpp"

#include <sys/mman.h>

#include <cassert>
#include <utility>

namespace cloister::hypervisor {
namespace {

constexpr u64 pcmd_bytes = sizeof(arch::Pcmd);
static_assert(pcmd_bytes == 128);

u64 round_up(u64 bytes) { return (bytes + arch::page_size - 1) & ~(arch::page_size - 1); }

bool populate(std::byte* page) { return ::madvise(page, arch::page_size, MADV_POPULATE_WRITE) == 0; }

}  // namespace

u64 Backing::bytes_of(u64 pages) { return pages * arch::page_size + round_up(pages * pcmd_bytes); }

tl::expected<Backing, bool> Backing::create(u64 pages) {
  void* const base =
      ::mmap(nullptr, bytes_of(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return tl::unexpected(false);
  ::madvise(base, bytes_of(pages), MADV_NOHUGEPAGE);  // an image takes what it is
  return Backing(static_cast<std::byte*>(base), pages);
}

Backing::Backing(Backing&& other) noexcept : base_(std::exchange(other.base_, nullptr)), pages_(other.pages_) {}

Backing::~Backing() {
  if (base_ != nullptr) ::munmap(base_, bytes_of(pages_));
}

bool Backing::reserve(EpcPage page) {
  const u64 within = (page.number * pcmd_bytes) & ~(arch::page_size - 1);
  return populate(image(page).data()) && populate(base_ + pages_ * arch::page_size + within);
}

std::span<std::byte> Backing::image(EpcPage page) {
  assert(page.number < pages_);
  return {base_ + page.number * arch::page_size, arch::page_size};
}

std::span<std::byte> Backing::pcmd(EpcPage page) {
  assert(page.number < pages_);
  return {base_ + pages_ * arch::page_size + page.number * pcmd_bytes, pcmd_bytes};
}

void Backing::release(EpcPage page) {
  [[maybe_unused]] const int done = ::madvise(image(page).data(), arch::page_size, MADV_DONTNEED);
  assert(done == 0);
}

}  // namespace cloister::hypervisor
