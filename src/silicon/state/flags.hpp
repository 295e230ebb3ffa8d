// The six status flags, computed when they are needed (SDM vol. 1, 3.4.3.1).
//
// An operation stores its result and its carries; each flag is a function of the two. The form is the one of Stanislav
// Shwartsman's "carry vector" flags: `result` is the result sign-extended to 64 bits (ZF, SF and PF come from it),
// `aux` holds the carry out of the top bit in bit 63 (CF), the carry into it in bit 62 (OF = bit 63 xor bit 62), and
// the carry out of bit 3 in bit 3 (AF). Two corrections make every combination representable, for POPF and the like:
// bit 0 of `aux` inverts SF, bits 15:8 of `aux` are xored to the result's low byte for PF.
//
// Code that an engine translated leaves the host's own flags instead, as LAHF and SETO put them into AH and AL: an
// image in the low 16 bits of `aux`, where all else is then meaningless. LAHF sets bit 1 of AH, which is what tells an
// image.
#pragma once

#include <bit>
#include <type_traits>

#include "arch/regs.hpp"

namespace cloister::silicon {

struct LazyFlags {
  u64 result = 1;
  u64 aux = 0;

  bool cf() const { return is_image() ? in_image(arch::rflags::cf) : (aux >> 63) != 0; }
  bool of() const { return is_image() ? (aux & 1) != 0 : (((aux >> 63) ^ (aux >> 62)) & 1) != 0; }
  bool af() const { return is_image() ? in_image(arch::rflags::af) : ((aux >> 3) & 1) != 0; }
  bool zf() const { return is_image() ? in_image(arch::rflags::zf) : result == 0; }
  bool sf() const { return is_image() ? in_image(arch::rflags::sf) : (((result >> 63) ^ aux) & 1) != 0; }
  bool pf() const {
    return is_image() ? in_image(arch::rflags::pf) : (std::popcount(static_cast<u8>(result ^ (aux >> 8))) & 1) == 0;
  }

  /// Bit 1 of AH.
  static constexpr u64 image_mark = 0x200;
  bool is_image() const { return (aux & image_mark) != 0; }
  /// Gives the flags the form of an image.
  void make_image() {
    if (is_image()) return;
    const u64 all = get();
    aux = ((all & 0xff) << 8) | image_mark | ((all & arch::rflags::of) != 0);
  }

  /// Result of a logical operation: CF = OF = AF = 0.
  template <class T>
  void set_logic(T r) {
    result = extend(r);
    aux = 0;
  }
  template <class T>
  void set_add(T a, T b, T r) {
    result = extend(r);
    aux = carries(static_cast<T>((a & b) | ((a | b) & ~r)));
  }
  template <class T>
  void set_sub(T a, T b, T r) {
    result = extend(r);
    aux = carries(static_cast<T>((~a & b) | ((~a | b) & r)));
  }
  /// INC and DEC: as set_add / set_sub with b = 1, but CF stays.
  template <class T>
  void set_inc(T a, T r) {
    const bool c = cf();
    set_add<T>(a, 1, r);
    set_carry(c);
  }
  template <class T>
  void set_dec(T a, T r) {
    const bool c = cf();
    set_sub<T>(a, 1, r);
    set_carry(c);
  }
  /// ZF, SF and PF from r; the other three as given.
  template <class T>
  void set_result(T r, bool c, bool o, bool a = false) {
    result = extend(r);
    aux = (u64{c} << 63) | (u64{c != o} << 62) | (u64{a} << 3);
  }
  /// Changes CF and nothing else.
  void set_carry(bool c) {
    if (is_image()) {
      aux = (aux & ~(arch::rflags::cf << 8)) | (u64{c} << 8);
      return;
    }
    const bool o = of();
    aux = (aux & ~(u64{3} << 62)) | (u64{c} << 63) | (u64{c != o} << 62);
  }
  /// Changes OF and nothing else.
  void set_overflow(bool o) {
    unmake_image();
    aux = (aux & ~(u64{1} << 62)) | (u64{cf() != o} << 62);
  }

  /// All six, in RFLAGS' places.
  u64 get() const {
    namespace f = arch::rflags;
    return (cf() ? f::cf : 0) | (pf() ? f::pf : 0) | (af() ? f::af : 0) | (zf() ? f::zf : 0) | (sf() ? f::sf : 0) |
           (of() ? f::of : 0);
  }
  /// All six, from RFLAGS' places.
  void set(u64 v) {
    namespace f = arch::rflags;
    const bool c = v & f::cf, o = v & f::of, s = v & f::sf, p = v & f::pf;
    result = (v & f::zf) ? 0 : 1;  // popcount: 0 has even parity, 1 has odd; neither is negative
    const bool natural_parity = (v & f::zf) != 0;
    aux = (u64{c} << 63) | (u64{c != o} << 62) | ((v & f::af) ? 8u : 0u) | (s ? 1u : 0u) |
          (p != natural_parity ? u64{1} << 8 : 0);
  }

 private:
  bool in_image(u64 flag) const { return ((aux >> 8) & flag) != 0; }
  void unmake_image() {
    if (is_image()) [[unlikely]]
      set(get());
  }
  template <class T>
  static u64 extend(T r) {
    return static_cast<u64>(static_cast<i64>(static_cast<std::make_signed_t<T>>(r)));
  }
  template <class T>
  static u64 carries(T c) {
    constexpr unsigned shift = 64 - 8 * sizeof(T);
    if constexpr (shift == 0) {
      // Bits 0 and 15:8 are corrections: keep CF, OF and AF only.
      return c & ((u64{3} << 62) | 8);
    } else {
      return ((static_cast<u64>(c) << shift) & (u64{3} << 62)) | (c & 8);
    }
  }
};

}  // namespace cloister::silicon
