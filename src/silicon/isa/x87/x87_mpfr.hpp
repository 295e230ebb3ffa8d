// x87 functions computed with MPFR: the same on every host, and correctly rounded by the control word's rounding
// control to 64 bits (real processors promise an error below one unit in the last place: SDM vol. 1, 8.3.10; precision
// control has no effect on them). Arguments beyond pi / 4 are reduced with the processor's own pi of 66 bits (8.3.8).
#pragma once

#include "silicon/isa/x87/x87_host.hpp"

namespace cloister::silicon {

namespace x87_mpfr {

X87Result sine(const Float80& x, u16 control);
X87Result cosine(const Float80& x, u16 control);
X87Result tangent(const Float80& x, u16 control);
X87Result exp2_minus1(const Float80& x, u16 control);
/// atan2(y, x), y * log2(x), y * log2(x + 1)
X87Result arctangent(const Float80& x, const Float80& y, u16 control);
X87Result y_log2(const Float80& x, const Float80& y, u16 control);
X87Result y_log2_plus1(const Float80& x, const Float80& y, u16 control);

}  // namespace x87_mpfr
}  // namespace cloister::silicon
