// Packed integer arithmetic, logic, comparison, conversion and unpacking that MMX, SSE2 and SSSE3 have for both
// register files (SDM vol. 1, 9.4, 11.4.2 and 12.6).
#include "silicon/isa/vector/mmx_op.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_SHARED(X)                    \
  X(PADDB, "paddb", 8, PackedInteger)         \
  X(PADDW, "paddw", 8, PackedInteger)         \
  X(PADDD, "paddd", 8, HotInteger)            \
  X(PADDQ, "paddq", 8, HotInteger)            \
  X(PADDSB, "paddsb", 8, PackedInteger)       \
  X(PADDSW, "paddsw", 8, PackedInteger)       \
  X(PADDUSB, "paddusb", 8, PackedInteger)     \
  X(PADDUSW, "paddusw", 8, PackedInteger)     \
  X(PSUBB, "psubb", 8, HotInteger)            \
  X(PSUBW, "psubw", 8, PackedInteger)         \
  X(PSUBD, "psubd", 8, PackedInteger)         \
  X(PSUBQ, "psubq", 8, PackedInteger)         \
  X(PSUBSB, "psubsb", 8, PackedInteger)       \
  X(PSUBSW, "psubsw", 8, PackedInteger)       \
  X(PSUBUSB, "psubusb", 8, PackedInteger)     \
  X(PSUBUSW, "psubusw", 8, PackedInteger)     \
  X(PMULLW, "pmullw", 8, PackedInteger)       \
  X(PMULHW, "pmulhw", 8, PackedInteger)       \
  X(PMULHUW, "pmulhuw", 8, PackedInteger)     \
  X(PMULUDQ, "pmuludq", 8, PackedInteger)     \
  X(PMULHRSW, "pmulhrsw", 8, PackedInteger)   \
  X(PMADDWD, "pmaddwd", 8, PackedInteger)     \
  X(PMADDUBSW, "pmaddubsw", 8, PackedInteger) \
  X(PCMPEQB, "pcmpeqb", 8, HotInteger)        \
  X(PCMPEQW, "pcmpeqw", 8, PackedInteger)     \
  X(PCMPEQD, "pcmpeqd", 8, HotInteger)        \
  X(PCMPGTB, "pcmpgtb", 8, PackedInteger)     \
  X(PCMPGTW, "pcmpgtw", 8, PackedInteger)     \
  X(PCMPGTD, "pcmpgtd", 8, PackedInteger)     \
  X(PAND, "pand", 8, HotInteger)              \
  X(PANDN, "pandn", 8, HotInteger)            \
  X(POR, "por", 8, HotInteger)                \
  X(PXOR, "pxor", 8, HotInteger)              \
  X(PACKSSWB, "packsswb", 8, PackedInteger)   \
  X(PACKSSDW, "packssdw", 8, PackedInteger)   \
  X(PACKUSWB, "packuswb", 8, PackedInteger)   \
  X(PUNPCKLBW, "punpcklbw", 4, HotInteger)    \
  X(PUNPCKLWD, "punpcklwd", 4, HotInteger)    \
  X(PUNPCKLDQ, "punpckldq", 4, HotInteger)    \
  X(PUNPCKHBW, "punpckhbw", 8, PackedInteger) \
  X(PUNPCKHWD, "punpckhwd", 8, PackedInteger) \
  X(PUNPCKHDQ, "punpckhdq", 8, PackedInteger) \
  X(PAVGB, "pavgb", 8, PackedInteger)         \
  X(PAVGW, "pavgw", 8, PackedInteger)         \
  X(PMINUB, "pminub", 8, HotInteger)          \
  X(PMINSW, "pminsw", 8, PackedInteger)       \
  X(PMAXUB, "pmaxub", 8, PackedInteger)       \
  X(PMAXSW, "pmaxsw", 8, PackedInteger)       \
  X(PSADBW, "psadbw", 8, PackedInteger)       \
  X(PABSB, "pabsb", 8, PackedInteger)         \
  X(PABSW, "pabsw", 8, PackedInteger)         \
  X(PABSD, "pabsd", 8, PackedInteger)         \
  X(PSIGNB, "psignb", 8, PackedInteger)       \
  X(PSIGNW, "psignw", 8, PackedInteger)       \
  X(PSIGND, "psignd", 8, PackedInteger)       \
  X(PHADDW, "phaddw", 8, PackedInteger)       \
  X(PHADDD, "phaddd", 8, PackedInteger)       \
  X(PHADDSW, "phaddsw", 8, PackedInteger)     \
  X(PHSUBW, "phsubw", 8, PackedInteger)       \
  X(PHSUBD, "phsubd", 8, PackedInteger)       \
  X(PHSUBSW, "phsubsw", 8, PackedInteger)     \
  X(PSHUFB, "pshufb", 8, HotInteger)

CLOISTER_SHARED(CLOISTER_SHARED_OP)

#define CLOISTER_ROW(Name, ...) {ZYDIS_MNEMONIC_##Name, select_shared<Name>},
constexpr Row rows[] = {CLOISTER_SHARED(CLOISTER_ROW)};

}  // namespace

std::span<const Row> mmx_shared_rows() { return rows; }

}  // namespace cloister::silicon
