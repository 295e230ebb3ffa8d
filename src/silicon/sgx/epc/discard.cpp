// Holes (fallocate(2), FALLOC_FL_PUNCH_HOLE): in the file of pages one for each; in the EPCM's a page of the file has
// 64 entries, and goes with the last of them. Until then the entry's bytes are zeroed, which is what punching a part of
// a page does.
#include "silicon/sgx/epc/discard.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "silicon/sgx/epc/epc_memory_impl.hpp"

namespace cloister::silicon {
namespace {

constexpr u64 entries_in_page = arch::page_size / sizeof(EpcmEntry);

bool punch(int file, u64 from, u64 bytes) {
  return ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                     static_cast<off_t>(bytes)) == 0;
}

bool meets(std::span<const vmx::EpcRow> rows, u64 first, u64 end) {
  const auto row = std::ranges::upper_bound(rows, first, {}, [](const vmx::EpcRow& r) { return r.first + r.pages; });
  return row != rows.end() && row->first < end;
}

/// Bytes of memory that a file has.
u64 taken_by(int file) {
  constexpr u64 block = 512;  // stat(2), st_blocks
  struct stat status {};
  return ::fstat(file, &status) == 0 ? static_cast<u64>(status.st_blocks) * block : 0;
}

u64 beyond(u64 taken, u64 most) { return taken > most ? taken - most : 0; }

}  // namespace

u64 epc_beyond(const vmx::EpcMemory& memory, std::span<const vmx::EpcRow> pages) {
  u64 count = 0, groups = 0, next = 0;  // next: the first group that is not counted yet
  for (const vmx::EpcRow& row : pages) {
    count += row.pages;
    if (row.pages == 0) continue;
    const u64 first = std::max(row.first / entries_in_page, next);
    next = std::max((row.first + row.pages - 1) / entries_in_page + 1, next);
    groups += next - std::min(first, next);
  }
  static_assert(epcm_entries_at == arch::page_size);  // the header
  return beyond(taken_by(memory.pages_descriptor()), count * arch::page_size) +
         beyond(taken_by(memory.epcm_descriptor()), epcm_entries_at + groups * arch::page_size);
}

bool discard_epc(const vmx::EpcMemory& memory, const vmx::EpcRow& row, std::span<const vmx::EpcRow> kept) {
  const u64 end = row.first + row.pages;
  if (row.pages == 0 || end > memory.pages() || end < row.first) return row.pages == 0;
  bool done = punch(memory.pages_descriptor(), row.first * arch::page_size, row.pages * arch::page_size);
  for (u64 group = row.first / entries_in_page * entries_in_page; group < end; group += entries_in_page) {
    const bool whole = !meets(kept, group, group + entries_in_page);
    const u64 from = whole ? group : std::max(group, row.first);
    const u64 to = whole ? group + entries_in_page : std::min(group + entries_in_page, end);
    done =
        punch(memory.epcm_descriptor(), epcm_entries_at + from * sizeof(EpcmEntry), (to - from) * sizeof(EpcmEntry)) &&
        done;
  }
  return done;
}

}  // namespace cloister::silicon
