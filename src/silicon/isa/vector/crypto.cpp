// AES-NI, PCLMULQDQ and SHA: the host's own instructions (SDM vol. 1, 12.13 and 12.14; vol. 2, AESENC, PCLMULQDQ,
// SHA256RNDS2, …).
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

#define CLOISTER_CRYPTO(X)                   \
  X(AESENC, "aesenc", HotInteger)            \
  X(AESENCLAST, "aesenclast", PackedInteger) \
  X(AESDEC, "aesdec", HotInteger)            \
  X(AESDECLAST, "aesdeclast", PackedInteger) \
  X(AESIMC, "aesimc", PackedInteger)         \
  X(SHA1NEXTE, "sha1nexte", PackedInteger)   \
  X(SHA1MSG1, "sha1msg1", PackedInteger)     \
  X(SHA1MSG2, "sha1msg2", PackedInteger)     \
  X(SHA256MSG1, "sha256msg1", PackedInteger) \
  X(SHA256MSG2, "sha256msg2", PackedInteger)

CLOISTER_CRYPTO(CLOISTER_VECTOR_OP)
CLOISTER_IMMEDIATE_OP(SHA1RNDS4, "sha1rnds4", 4, PackedInteger)

struct SHA256RNDS2 : PackedInteger {
  static __m128i apply(__m128i a, __m128i b, __m128i message) {
    asm volatile("sha256rnds2 %2, %1, %0" : "+x"(a) : "x"(b), "Yz"(message));
    return a;
  }
};

/// The round constant is only xored to the doublewords 1 and 3.
struct AESKEYGENASSIST : PackedInteger {
  static __m128i apply(__m128i, __m128i b, u64 imm) {
    __m128i r;
    asm volatile("aeskeygenassist $0, %1, %0" : "=x"(r) : "x"(b));
    const int rcon = static_cast<int>(imm);
    return _mm_xor_si128(r, _mm_set_epi32(rcon, 0, rcon, 0));
  }
};

/// Bit 0 chooses the half of the first operand, bit 4 that of the second.
struct PCLMULQDQ : HotInteger {
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    if ((imm & 1) != 0) a = _mm_unpackhi_epi64(a, a);
    if ((imm & 16) != 0) b = _mm_unpackhi_epi64(b, b);
    asm volatile("pclmulqdq $0, %1, %0" : "+x"(a) : "x"(b));
    return a;
  }
};

#define CLOISTER_ROW(Name, ...) {ZYDIS_MNEMONIC_##Name, select_vector<Name>},
constexpr Row rows[] = {
    CLOISTER_CRYPTO(CLOISTER_ROW){ZYDIS_MNEMONIC_SHA1RNDS4, select_vector<SHA1RNDS4>},
    {ZYDIS_MNEMONIC_SHA256RNDS2, select_vector<SHA256RNDS2>},
    {ZYDIS_MNEMONIC_AESKEYGENASSIST, select_vector<AESKEYGENASSIST>},
    {ZYDIS_MNEMONIC_PCLMULQDQ, select_vector<PCLMULQDQ>},
};

}  // namespace

std::span<const Row> crypto_rows() { return rows; }

}  // namespace cloister::silicon
