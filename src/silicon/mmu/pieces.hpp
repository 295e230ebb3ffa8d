// An operand on the one or two pages that it lies on, translated before any byte of it is touched.
#pragma once

#include <array>
#include <tl/expected.hpp>

#include "silicon/mmu/mmu.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

struct Pieces {
  struct Piece {
    PageTranslation page;
    u64 offset;
    unsigned bytes;
  };
  std::array<Piece, 2> piece;
  unsigned count = 0;
};

/// The access is noted for data breakpoints.
tl::expected<Pieces, Miss> translate_pieces(Cpu& cpu, u64 linear, unsigned bytes, Access access);
/// The abort page reads as all ones.
void read_pieces(const Pieces& pieces, void* to);

}  // namespace cloister::silicon
