// Features whose instructions run on the host's own: absent where the host lacks them.
#pragma once

namespace cloister::silicon {

struct HostFeatures {
  bool aes = false, pclmul = false, sha = false;
  /// Here only translated code needs them: all is computed without them, too.
  bool popcnt = false, movbe = false, lzcnt = false, bmi1 = false, bmi2 = false;
  /// AVX and AVX2, and the host's kernel keeps the YMM registers (SDM vol. 1, 14.3). What follows is there only with
  /// it.
  bool avx = false;
  bool fma = false, f16c = false, vaes = false, vpclmulqdq = false;
  /// XSAVE components (SDM vol. 1, 13.1).
  constexpr unsigned xcr0() const { return avx ? 7 : 3; }
};

const HostFeatures& host_features();

}  // namespace cloister::silicon
