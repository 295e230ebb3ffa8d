// Integer names and the strong types for addresses and frame numbers.
//
// Guest-virtual (linear), guest-physical and machine-physical addresses are different types: mixing them does not
// compile. Frame numbers count 4 KiB pages.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace cloister {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
__extension__ using u128 = unsigned __int128;
__extension__ using i128 = __int128;

namespace arch {

inline constexpr u64 page_size = 4096;
inline constexpr u64 page_mask = page_size - 1;
inline constexpr unsigned page_shift = 12;

/// A 64-bit address or number that is not another one: arithmetic with plain integers only.
template <class Tag>
struct Strong {
  u64 value = 0;

  constexpr Strong() = default;
  constexpr explicit Strong(u64 v) : value(v) {}
  constexpr auto operator<=>(const Strong&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 sees a 0
  constexpr Strong operator+(u64 n) const { return Strong{value + n}; }
  constexpr Strong operator-(u64 n) const { return Strong{value - n}; }
  constexpr u64 operator-(Strong other) const { return value - other.value; }
  constexpr Strong& operator+=(u64 n) {
    value += n;
    return *this;
  }
};

using Gva = Strong<struct GvaTag>;  ///< guest linear address, bytes
using Gpa = Strong<struct GpaTag>;  ///< guest-physical address, bytes
using Hpa = Strong<struct HpaTag>;  ///< machine-physical address, bytes
using Gfn = Strong<struct GfnTag>;  ///< guest-physical frame number, 4 KiB pages
using Mfn = Strong<struct MfnTag>;  ///< machine frame number, 4 KiB pages

constexpr Gfn frame_of(Gpa a) { return Gfn{a.value >> page_shift}; }
constexpr Mfn frame_of(Hpa a) { return Mfn{a.value >> page_shift}; }
constexpr Gpa address_of(Gfn f) { return Gpa{f.value << page_shift}; }
constexpr Hpa address_of(Mfn f) { return Hpa{f.value << page_shift}; }

constexpr u64 page_base(u64 a) { return a & ~page_mask; }
constexpr u64 page_offset(u64 a) { return a & page_mask; }

}  // namespace arch
}  // namespace cloister
