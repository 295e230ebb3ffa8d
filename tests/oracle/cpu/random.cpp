// Interesting values: boundaries of the integer types (SDM vol. 1, 4.2.1) and the classes of real numbers (vol. 1,
// tables 4-3 and 8-3).
#include "oracle/cpu/random.hpp"

namespace cloister::oracle {

u64 Random::integer() {
  const u64 noise = next();
  switch (noise & 15) {
    case 0: return 0;
    case 1: return ~u64{0};
    case 2: return noise >> 56;                                              // a byte
    case 3: return u64{1} << (noise >> 58);                                  // one bit
    case 4: return (u64{1} << (noise >> 58)) - 1;                            // ones below it
    case 5: return ~u64{0} << (noise >> 58);                                 // ones above it
    case 6: return static_cast<u64>(static_cast<i64>(noise) >> 55);          // small, of either sign
    case 7: return (noise & 0x8080'8080'8080'8080) ^ 0x7f7f'7f7f'7f7f'7f7f;  // extremes of the bytes
    case 8: return (noise & 0x8000'8000'8000'8000) ^ 0x7fff'7fff'7fff'7fff;
    case 9: return (noise & 0x8000'0000'8000'0000) ^ 0x7fff'ffff'7fff'ffff;
    default: return next();
  }
}

namespace {

/// A value of a binary format: `exponent_bits` and `fraction_bits` as in SDM vol. 1, table 4-3.
u64 real(Random& random, unsigned exponent_bits, unsigned fraction_bits) {
  const u64 noise = random.next();
  const u64 top = (u64{1} << exponent_bits) - 1, bias = top >> 1;
  u64 exponent = 0;
  switch (noise & 15) {
    case 0: exponent = 0; break;
    case 1: exponent = 1; break;
    case 2: exponent = top; break;
    case 3: exponent = top - 1; break;
    case 4: exponent = random.below(top + 1); break;
    case 5: exponent = bias + fraction_bits - 4 + random.below(10); break;  // where integers end
    case 6: exponent = bias + 28 + random.below(8); break;                  // about 2^31
    case 7: exponent = bias - bias / 2 + random.below(4); break;            // squares underflow
    case 8: exponent = bias + bias / 2 - 2 + random.below(4); break;        // squares overflow
    default: exponent = bias - 8 + random.below(24); break;
  }
  const u64 all = (u64{1} << fraction_bits) - 1;
  u64 fraction = 0;
  switch ((noise >> 4) & 7) {
    case 0: fraction = 0; break;
    case 1: fraction = all; break;
    case 2: fraction = (u64{1} << random.below(fraction_bits)); break;
    case 3: fraction = all << random.below(fraction_bits); break;
    case 4: fraction = random.next() << (fraction_bits / 2); break;
    case 5: fraction = 1; break;
    default: fraction = random.next(); break;
  }
  return ((noise >> 63) << (exponent_bits + fraction_bits)) | ((exponent & top) << fraction_bits) | (fraction & all);
}

}  // namespace

u32 Random::float32() { return static_cast<u32>(real(*this, 8, 23)); }
u64 Random::float64() { return real(*this, 11, 52); }

Random::Extended Random::float80() {
  const u64 noise = next();
  const u64 shape = real(*this, 11, 52);
  u64 exponent = (shape >> 52) & 0x7ff;
  // Spread an 11-bit exponent over 15 bits, keeping both ends and the distance to the bias.
  if (exponent == 0x7ff) {
    exponent = 0x7fff;
  } else if (exponent == 0x7fe) {
    exponent = 0x7ffe;
  } else if (exponent > 1) {
    exponent = exponent - 1023 + 16383;
  }
  switch ((noise >> 8) & 15) {
    case 0: exponent = below(0x8000); break;
    case 1: exponent = below(70); break;
    case 2: exponent = 0x7fff - below(70); break;
    default: break;
  }
  u64 fraction = shape << 11;
  if ((noise & 3) == 0) fraction |= next() & 0xfff;
  if ((noise & 0xf0) == 0) fraction = next();
  bool integer_bit = exponent != 0;
  if (((noise >> 16) & 31) == 0) integer_bit = !integer_bit;  // pseudo-values and unnormals
  return {(u64{integer_bit} << 63) | (fraction & ~(u64{1} << 63)), static_cast<u16>(exponent | ((shape >> 63) << 15))};
}

}  // namespace cloister::oracle
