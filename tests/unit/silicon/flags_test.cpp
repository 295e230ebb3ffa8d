// LazyFlags against flags computed bit by bit, as SDM vol. 1, 3.4.3.1 defines them.
#include "silicon/state/flags.hpp"

#include <gtest/gtest.h>

#include "silicon/isa/integer/condition.hpp"

namespace cloister::silicon {
namespace {

namespace f = arch::rflags;

/// Carries of a + b + carry_in, computed one bit position at a time.
struct Adder {
  unsigned sum = 0;
  bool carry = false, overflow = false, half_carry = false;

  Adder(unsigned a, unsigned b, bool carry_in, unsigned bits) {
    bool c = carry_in, into_top = false;
    for (unsigned i = 0; i < bits; ++i) {
      if (i == bits - 1) into_top = c;
      const unsigned column = ((a >> i) & 1) + ((b >> i) & 1) + (c ? 1 : 0);
      sum |= (column & 1) << i;
      c = column > 1;
      if (i == 3) half_carry = c;
    }
    carry = c;
    overflow = c != into_top;
  }
};

u64 result_flags(unsigned r, unsigned bits) {
  bool even = true;
  for (unsigned i = 0; i < 8; ++i) even = even != (((r >> i) & 1) != 0);
  return (r == 0 ? f::zf : 0) | (((r >> (bits - 1)) & 1) != 0 ? f::sf : 0) | (even ? f::pf : 0);
}
u64 add_flags(unsigned a, unsigned b, bool carry_in, unsigned bits) {
  const Adder s(a, b, carry_in, bits);
  return result_flags(s.sum, bits) | (s.carry ? f::cf : 0) | (s.overflow ? f::of : 0) | (s.half_carry ? f::af : 0);
}
/// a - b - borrow is a + ~b + !borrow, with CF and AF the complements of the carries.
u64 sub_flags(unsigned a, unsigned b, bool borrow, unsigned bits) {
  return add_flags(a, ~b & ((1u << bits) - 1), !borrow, bits) ^ f::cf ^ f::af;
}

class Pairs : public testing::Test {
 protected:
  template <class Check>
  void for_all(Check check) {
    for (unsigned a = 0; a < 256; ++a) {
      for (unsigned b = 0; b < 256; ++b) check(static_cast<u8>(a), static_cast<u8>(b));
      if (HasFailure()) return;
    }
  }
};

TEST_F(Pairs, AddAndAdc) {
  for (const bool carry : {false, true}) {
    for_all([&](u8 a, u8 b) {
      LazyFlags flags;
      flags.set_add<u8>(a, b, static_cast<u8>(a + b + carry));
      EXPECT_EQ(flags.get(), add_flags(a, b, carry, 8)) << unsigned{a} << " + " << unsigned{b} << " + " << carry;
    });
  }
}

TEST_F(Pairs, SubSbbAndCmp) {
  for (const bool borrow : {false, true}) {
    for_all([&](u8 a, u8 b) {
      LazyFlags flags;
      flags.set_sub<u8>(a, b, static_cast<u8>(a - b - borrow));
      EXPECT_EQ(flags.get(), sub_flags(a, b, borrow, 8)) << unsigned{a} << " - " << unsigned{b} << " - " << borrow;
    });
  }
}

TEST_F(Pairs, LogicClearsCarryOverflowAndAdjust) {
  for_all([](u8 a, u8 b) {
    LazyFlags flags;
    flags.set(f::status);
    flags.set_logic<u8>(a & b);
    EXPECT_EQ(flags.get(), result_flags(a & b, 8));
  });
}

TEST(Flags, IncAndDecKeepCarry) {
  for (unsigned a = 0; a < 256; ++a) {
    for (const u64 carry : {u64{0}, f::cf}) {
      LazyFlags flags;
      flags.set(carry);
      flags.set_inc<u8>(static_cast<u8>(a), static_cast<u8>(a + 1));
      EXPECT_EQ(flags.get(), (add_flags(a, 1, false, 8) & ~f::cf) | carry) << "inc " << a;
      flags.set(carry);
      flags.set_dec<u8>(static_cast<u8>(a), static_cast<u8>(a - 1));
      EXPECT_EQ(flags.get(), (sub_flags(a, 1, false, 8) & ~f::cf) | carry) << "dec " << a;
    }
  }
}

/// The same bytes at the top of wider operands: the flags that depend on width must not notice what is below.
template <class T>
class Wider : public testing::Test {};
using Widths = testing::Types<u16, u32, u64>;
TYPED_TEST_SUITE(Wider, Widths);

TYPED_TEST(Wider, CarryOverflowAndSignComeFromTheTop) {
  using T = TypeParam;
  constexpr unsigned shift = 8 * sizeof(T) - 8;
  constexpr u64 from_top = f::cf | f::of | f::sf | f::zf;
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      const T wide_a = static_cast<T>(T(a) << shift), wide_b = static_cast<T>(T(b) << shift);
      LazyFlags flags;
      flags.set_add<T>(wide_a, wide_b, static_cast<T>(wide_a + wide_b));
      ASSERT_EQ(flags.get() & from_top, add_flags(a, b, false, 8) & from_top) << a << " + " << b;
      flags.set_sub<T>(wide_a, wide_b, static_cast<T>(wide_a - wide_b));
      ASSERT_EQ(flags.get() & from_top, sub_flags(a, b, false, 8) & from_top) << a << " - " << b;
    }
  }
}

TYPED_TEST(Wider, ParityAndAdjustComeFromTheLowByte) {
  using T = TypeParam;
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      const T wide_a = static_cast<T>(0x1200 | a), wide_b = static_cast<T>(0x2400 | b);
      LazyFlags flags;
      flags.set_add<T>(wide_a, wide_b, static_cast<T>(wide_a + wide_b));
      ASSERT_EQ(flags.get() & (f::pf | f::af), add_flags(a, b, false, 8) & (f::pf | f::af)) << a << " + " << b;
      flags.set_sub<T>(wide_a, wide_b, static_cast<T>(wide_a - wide_b));
      ASSERT_EQ(flags.get() & (f::pf | f::af), sub_flags(a, b, false, 8) & (f::pf | f::af)) << a << " - " << b;
    }
  }
}

/// The n-th combination of the six status flags.
u64 combination(unsigned n) {
  constexpr u64 bits[] = {f::cf, f::pf, f::af, f::zf, f::sf, f::of};
  u64 v = 0;
  for (unsigned i = 0; i < 6; ++i) v |= ((n >> i) & 1) != 0 ? bits[i] : 0;
  return v;
}

TEST(Flags, EveryCombinationCanBeLoaded) {
  for (unsigned n = 0; n < 64; ++n) {
    LazyFlags flags;
    flags.set_sub<u32>(5, 7, 5u - 7u);
    flags.set(combination(n));
    EXPECT_EQ(flags.get(), combination(n));
    flags.set(combination(n) | ~f::status);
    EXPECT_EQ(flags.get(), combination(n)) << "other bits of RFLAGS are not status flags";
  }
}

TEST(Flags, SingleFlagsChangeAlone) {
  for (unsigned n = 0; n < 64; ++n) {
    const u64 v = combination(n);
    for (const bool on : {false, true}) {
      LazyFlags flags;
      flags.set(v);
      flags.set_carry(on);
      EXPECT_EQ(flags.get(), (v & ~f::cf) | (on ? f::cf : 0));
      flags.set(v);
      flags.set_overflow(on);
      EXPECT_EQ(flags.get(), (v & ~f::of) | (on ? f::of : 0));
    }
  }
}

TEST(Flags, ResultWithGivenCarries) {
  for (unsigned n = 0; n < 8; ++n) {
    const bool c = n & 1, o = n & 2, a = n & 4;
    LazyFlags flags;
    flags.set_result<u16>(0x8003, c, o, a);
    EXPECT_EQ(flags.get(), f::sf | f::pf | (c ? f::cf : 0) | (o ? f::of : 0) | (a ? f::af : 0));
  }
}

// ------------------------------------------------------------------------------------------------ conditions

/// SDM vol. 1, table B-1.
bool expected(unsigned code, u64 v) {
  const bool c = v & f::cf, p = v & f::pf, z = v & f::zf, s = v & f::sf, o = v & f::of;
  const bool tests[] = {o, c, z, c || z, s, p, s != o, z || s != o};
  return tests[code / 2] != (code % 2 == 1);
}

template <unsigned code>
void check_condition() {
  for (unsigned n = 0; n < 64; ++n) {
    LazyFlags flags;
    flags.set(combination(n));
    EXPECT_EQ(condition<code>(flags), expected(code, combination(n))) << "condition " << code << ", flags " << n;
  }
}
template <unsigned... codes>
void check_conditions(std::integer_sequence<unsigned, codes...>) {
  (check_condition<codes>(), ...);
}

TEST(Condition, AllSixteen) { check_conditions(std::make_integer_sequence<unsigned, 16>{}); }

}  // namespace
}  // namespace cloister::silicon
