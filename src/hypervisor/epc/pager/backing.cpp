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

bool populate_page(std::byte* page) { return ::madvise(page, arch::page_size, MADV_POPULATE_WRITE) == 0; }

}  // namespace

u64 Backing::bytes_of(u64 images) { return images * arch::page_size + round_up(images * pcmd_bytes); }

tl::expected<Backing, bool> Backing::create(u64 images) {
  void* const base =
      ::mmap(nullptr, bytes_of(images), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return tl::unexpected(false);
  ::madvise(base, bytes_of(images), MADV_NOHUGEPAGE);  // an image takes what it is
  return Backing(static_cast<std::byte*>(base), images);
}

Backing::Backing(Backing&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      images_(other.images_),
      new_(other.new_),
      warm_(std::move(other.warm_)),
      cold_(std::move(other.cold_)) {}

Backing::~Backing() {
  if (base_ != nullptr) ::munmap(base_, bytes_of(images_));
}

std::optional<Backing::Image> Backing::take() {
  if (!warm_.empty()) {
    const Image image = warm_.back();
    warm_.pop_back();
    return image;
  }
  const bool is_new = cold_.empty();
  const Image image = is_new ? Image{new_} : cold_.back();
  if (!populate(image)) return std::nullopt;
  is_new ? static_cast<void>(++new_) : cold_.pop_back();
  return image;
}

bool Backing::populate(Image image) {
  const u64 within = (static_cast<u64>(image) * pcmd_bytes) & ~(arch::page_size - 1);
  return populate_page(page(image).data()) && populate_page(base_ + images_ * arch::page_size + within);
}

void Backing::give_back(Image image) {
  if (warm_.size() < spares) return warm_.push_back(image);
  [[maybe_unused]] const int done = ::madvise(page(image).data(), arch::page_size, MADV_DONTNEED);
  assert(done == 0);
  cold_.push_back(image);
}

std::span<std::byte> Backing::page(Image image) {
  assert(static_cast<u64>(image) < images_);
  return {base_ + static_cast<u64>(image) * arch::page_size, arch::page_size};
}

std::span<std::byte> Backing::pcmd(Image image) {
  assert(static_cast<u64>(image) < images_);
  return {base_ + images_ * arch::page_size + static_cast<u64>(image) * pcmd_bytes, pcmd_bytes};
}

}  // namespace cloister::hypervisor
