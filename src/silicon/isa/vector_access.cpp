// The masked stores to [rDI] (SDM vol. 2, MASKMOVQ and
// MASKMOVDQU).
#include "silicon/isa/vector_access.hpp"

#include <algorithm>

namespace cloister::silicon {

bool store_masked(Cpu& cpu, const Op* op, u64 linear, const u8* data, const u8* mask, unsigned bytes) {
  const auto selected = [](u8 m) { return (m & 0x80) != 0; };
  std::array<u8, 16> span{};
  if (!load_for_store_slow(cpu, op, linear, span.data(), bytes)) return false;
  if (std::none_of(mask, mask + bytes, selected)) return true;
  for (unsigned i = 0; i < bytes; ++i) {
    if (selected(mask[i])) span[i] = data[i];
  }
  return store_slow(cpu, op, linear, span.data(), bytes);
}

void note_rdi_address(const Insn& insn, Op& op) {
  op.base = arch::rdi;
  op.index = reg_zero;
  op.disp = 0;
  const ZydisRegister segment = insn.operand[2].mem.segment;
  if (insn.bits64() && segment != ZYDIS_REGISTER_FS && segment != ZYDIS_REGISTER_GS) {
    op.seg = seg_none;
  } else {
    op.seg = static_cast<u8>(ZydisRegisterGetId(segment));
  }
  op.scale = 0;
  if (!insn.bits64() || insn.info.address_width != 64) {
    op.aux |= any_address;
    op.scale = static_cast<u8>((insn.info.address_width / 8) << 4);
  }
}

}  // namespace cloister::silicon
