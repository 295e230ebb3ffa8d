#include "silicon/mmu/pieces.hpp"

#include <algorithm>
#include <cstring>

#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

tl::expected<Pieces, Miss> translate_pieces(Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  Pieces pieces;
  for (unsigned done = 0; done < bytes;) {
    const u64 at = cpu.code64 ? linear + done : static_cast<u32>(linear + done);
    const unsigned n = std::min(bytes - done, static_cast<unsigned>(arch::page_size - arch::page_offset(at)));
    const auto page = TRY(cpu.mmu->translate_and_fill(at, access));
    pieces.piece[pieces.count++] = {page, arch::page_offset(at), n};
    done += n;
  }
  note_data_access(cpu, linear, bytes, access);
  return pieces;
}

void read_pieces(const Pieces& pieces, void* to) {
  u8* out = static_cast<u8*>(to);
  for (unsigned i = 0; i < pieces.count; ++i) {
    const Pieces::Piece& p = pieces.piece[i];
    if (p.page.host == nullptr) {
      std::memset(out, 0xff, p.bytes);
    } else {
      copy_guest(out, p.page.host + p.offset, p.bytes);
    }
    out += p.bytes;
  }
}

}  // namespace cloister::silicon
