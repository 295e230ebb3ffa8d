// mmap, and mincore to see what is there.
#include "machine/epc/zeroed_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace cloister::toolstack {

tl::expected<ZeroedMemory, int> ZeroedMemory::create(u64 bytes) {
  ZeroedMemory memory;
  memory.bytes_ = (bytes + arch::page_mask) & ~arch::page_mask;
  if (memory.bytes_ == 0) return memory;
  void* begin =
      mmap(nullptr, memory.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) return tl::unexpected(errno);
  memory.begin_ = static_cast<std::byte*>(begin);
  // A touched byte is to bring 4 KiB, not 2 MiB. A kernel without huge pages refuses, and need not be told.
  madvise(begin, memory.bytes_, MADV_NOHUGEPAGE);
  return memory;
}

ZeroedMemory::~ZeroedMemory() {
  if (begin_ != nullptr) munmap(begin_, bytes_);
}

u64 ZeroedMemory::resident() const {
  std::vector<unsigned char> pages(bytes_ / arch::page_size);
  if (pages.empty() || mincore(begin_, bytes_, pages.data()) != 0) return 0;
  return static_cast<u64>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; })) *
         arch::page_size;
}

}  // namespace cloister::toolstack
