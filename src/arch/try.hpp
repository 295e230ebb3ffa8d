// Passing an error on. TRY(expression) is the value of an expected; if it has an error instead, the function returns
// that.
//
//   const u32 page = TRY(context.epc(linear, Access::write, "EADD.rcx_epc"));
//
// Not within another TRY: its name would hide the outer one's.
#pragma once

#include <tl/expected.hpp>
#include <utility>

namespace cloister {

template <class T, class E>
[[gnu::always_inline]] inline T take_value(tl::expected<T, E>&& expected) {
  if constexpr (!std::is_void_v<T>) return *std::move(expected);
}

}  // namespace cloister

// A statement expression: both of our compilers have it, and nothing else returns from the function that it stands in.
#define TRY(...)                                       \
  __extension__({                                      \
    auto tried = (__VA_ARGS__);                        \
    if (!tried) [[unlikely]]                           \
      return tl::unexpected(std::move(tried).error()); \
    ::cloister::take_value(std::move(tried));          \
  })
