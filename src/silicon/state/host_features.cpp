// What the host's CPUID and XCR0 say: see host_features.hpp.
#include "silicon/state/host_features.hpp"

#include <cpuid.h>

namespace cloister::silicon {
namespace {

constexpr bool bit(unsigned word, unsigned n) { return ((word >> n) & 1) != 0; }

/// The host's kernel keeps XMM and YMM registers.
bool keeps_ymm() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned both = 6;
  return (low & both) == both;
}

HostFeatures ask() {
  HostFeatures h;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return h;
  h.pclmul = bit(c, 1);
  h.movbe = bit(c, 22);
  h.popcnt = bit(c, 23);
  h.aes = bit(c, 25);
  const unsigned leaf1 = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return h;
  h.bmi1 = bit(b, 3);
  h.bmi2 = bit(b, 8);
  h.sha = bit(b, 29);
  unsigned extended = 0;
  h.lzcnt = __get_cpuid(0x8000'0001, &a, &a, &extended, &d) != 0 && bit(extended, 5);
  constexpr unsigned osxsave = 27, avx = 28;
  constexpr unsigned avx2 = 5;
  h.avx = bit(leaf1, osxsave) && bit(leaf1, avx) && bit(b, avx2) && keeps_ymm();
  if (!h.avx) return h;
  h.fma = bit(leaf1, 12);
  h.f16c = bit(leaf1, 29);
  h.vaes = h.aes && bit(c, 9);
  h.vpclmulqdq = h.pclmul && bit(c, 10);
  return h;
}

}  // namespace

const HostFeatures& host_features() {
  static const HostFeatures host = ask();
  return host;
}

}  // namespace cloister::silicon
