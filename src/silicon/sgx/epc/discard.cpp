// Holes (fallocate(2), FALLOC_FL_PUNCH_HOLE): in the file of pages one for each; in the EPCM's a page of the file has
// 64 entries, and goes with the last of them. Until then the entry's bytes are zeroed, which is what punching a part of
// a page does.
#include "silicon/sgx/epc/discard.hpp"

#include <fcntl.h>

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

}  // namespace

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
