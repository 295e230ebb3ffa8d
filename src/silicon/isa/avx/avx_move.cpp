// VEX-encoded moves of vectors and of their parts, and estimates (SDM vol. 2, MOVAPS, MOVSS, MOVHPS, VBROADCASTF128,
// RCPPS, …).
#include "silicon/isa/avx/avx_rows.hpp"
#include "silicon/isa/vector/sse_estimate.hpp"

namespace cloister::silicon {
namespace {

void whole(AvxValues& v) { v.result = v.second; }
void whole_low(AvxValues& v) { v.result.low = v.second.low; }
void both_halves(AvxValues& v) { v.result = {v.second.low, v.second.low}; }

u64 quadword(const Xmm& x, unsigned n) {
  u64 value;
  std::memcpy(&value, x.byte.data() + 8 * n, 8);
  return value;
}
void put(AvxValues& v, u64 low, u64 high) {
  std::memcpy(v.result.low.byte.data(), &low, 8);
  std::memcpy(v.result.low.byte.data() + 8, &high, 8);
}

/// The first source with the second's lowest element.
template <class T>
void replace(AvxValues& v) {
  v.result = v.first;
  std::memcpy(v.result.low.byte.data(), v.second.low.byte.data(), sizeof(T));
}
void first_low_second_low(AvxValues& v) { put(v, quadword(v.first.low, 0), quadword(v.second.low, 0)); }
void second_low_first_high(AvxValues& v) { put(v, quadword(v.second.low, 0), quadword(v.first.low, 1)); }
void second_high_first_high(AvxValues& v) { put(v, quadword(v.second.low, 1), quadword(v.first.low, 1)); }
/// What a store takes the lowest bytes of.
void high_quadword(AvxValues& v) { put(v, quadword(v.second.low, 1), 0); }

template <u32 (*function)(u32), unsigned count>
void estimate(AvxValues& v) {
  if (count == 1) v.result.low = v.first.low;
  for (unsigned i = 0; i < count; ++i) {
    u8* const to = i < 4 ? v.result.low.byte.data() : v.result.high.byte.data();
    const u8* const from = i < 4 ? v.second.low.byte.data() : v.second.high.byte.data();
    u32 x;
    std::memcpy(&x, from + 4 * (i % 4), 4);
    x = function(x);
    std::memcpy(to + 4 * (i % 4), &x, 4);
  }
}

#define CLOISTER_WHOLE(Name, must) \
  { .mnemonic = ZYDIS_MNEMONIC_##Name, .narrow = whole_low, .wide = whole, .aligned = must }
#define CLOISTER_SCALAR(Name, T)                                                       \
  {.mnemonic = ZYDIS_MNEMONIC_##Name, .narrow = replace<T>, .form = AvxForm::three}, { \
    .mnemonic = ZYDIS_MNEMONIC_##Name, .narrow = whole_low                             \
  }
constexpr AvxRow rows[] = {
    CLOISTER_WHOLE(VMOVAPS, true),
    CLOISTER_WHOLE(VMOVAPD, true),
    CLOISTER_WHOLE(VMOVDQA, true),
    CLOISTER_WHOLE(VMOVUPS, false),
    CLOISTER_WHOLE(VMOVUPD, false),
    CLOISTER_WHOLE(VMOVDQU, false),
    CLOISTER_WHOLE(VLDDQU, false),
    CLOISTER_WHOLE(VMOVNTDQ, true),
    CLOISTER_WHOLE(VMOVNTPS, true),
    CLOISTER_WHOLE(VMOVNTPD, true),
    CLOISTER_WHOLE(VMOVNTDQA, true),
    {.mnemonic = ZYDIS_MNEMONIC_VBROADCASTF128, .wide = both_halves},
    {.mnemonic = ZYDIS_MNEMONIC_VBROADCASTI128, .wide = both_halves},
    CLOISTER_SCALAR(VMOVSS, u32),
    CLOISTER_SCALAR(VMOVSD, u64),
    {.mnemonic = ZYDIS_MNEMONIC_VMOVLPS, .narrow = second_low_first_high, .form = AvxForm::three},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVLPS, .narrow = whole_low},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVLPD, .narrow = second_low_first_high, .form = AvxForm::three},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVLPD, .narrow = whole_low},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVHPS, .narrow = first_low_second_low, .form = AvxForm::three},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVHPS, .narrow = high_quadword},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVHPD, .narrow = first_low_second_low, .form = AvxForm::three},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVHPD, .narrow = high_quadword},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVLHPS, .narrow = first_low_second_low},
    {.mnemonic = ZYDIS_MNEMONIC_VMOVHLPS, .narrow = second_high_first_high},
    {.mnemonic = ZYDIS_MNEMONIC_VRCPPS, .narrow = estimate<reciprocal, 4>, .wide = estimate<reciprocal, 8>},
    {.mnemonic = ZYDIS_MNEMONIC_VRCPSS, .narrow = estimate<reciprocal, 1>},
    {.mnemonic = ZYDIS_MNEMONIC_VRSQRTPS, .narrow = estimate<reciprocal_sqrt, 4>, .wide = estimate<reciprocal_sqrt, 8>},
    {.mnemonic = ZYDIS_MNEMONIC_VRSQRTSS, .narrow = estimate<reciprocal_sqrt, 1>},
};

}  // namespace

std::span<const AvxRow> avx_move_rows() { return rows; }

}  // namespace cloister::silicon
