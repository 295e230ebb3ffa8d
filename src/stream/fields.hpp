// The fields of a plain struct, one after the other, without a list of them that could forget one. A struct is plain if
// it has no constructors, bases or private members.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace cloister::stream {

namespace detail {

/// Initialises any field.
struct Anything {
  template <class T>
  operator T&() const&& noexcept;
};

template <class T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), Anything{})...}; };
}

}  // namespace detail

inline constexpr std::size_t most_fields = 24;

/// How many fields T has: as many as initialise it, and no more.
template <class T, std::size_t N = most_fields + 1>
constexpr std::size_t field_count() {
  static_assert(std::is_aggregate_v<T>);
  if constexpr (detail::takes<T>(std::make_index_sequence<N>())) {
    static_assert(N <= most_fields, "a struct of more fields needs another row in for_each_field()");
    return N;
  } else if constexpr (N == 0) {
    return 0;
  } else {
    return field_count<T, N - 1>();
  }
}

/// f(field) for each, in the order of their declaration.
template <class T, class F>
constexpr void for_each_field(T& value, F&& f) {
  constexpr std::size_t n = field_count<std::remove_const_t<T>>();
#define CLOISTER_FIELDS(count, ...)                      \
  if constexpr (n == count) {                            \
    auto& [__VA_ARGS__] = value;                         \
    [&](auto&... each) { (f(each), ...); }(__VA_ARGS__); \
  }
  CLOISTER_FIELDS(1, a)
  CLOISTER_FIELDS(2, a, b)
  CLOISTER_FIELDS(3, a, b, c)
  CLOISTER_FIELDS(4, a, b, c, d)
  CLOISTER_FIELDS(5, a, b, c, d, e)
  CLOISTER_FIELDS(6, a, b, c, d, e, g)
  CLOISTER_FIELDS(7, a, b, c, d, e, g, h)
  CLOISTER_FIELDS(8, a, b, c, d, e, g, h, i)
  CLOISTER_FIELDS(9, a, b, c, d, e, g, h, i, j)
  CLOISTER_FIELDS(10, a, b, c, d, e, g, h, i, j, k)
  CLOISTER_FIELDS(11, a, b, c, d, e, g, h, i, j, k, l)
  CLOISTER_FIELDS(12, a, b, c, d, e, g, h, i, j, k, l, m)
  CLOISTER_FIELDS(13, a, b, c, d, e, g, h, i, j, k, l, m, o)
  CLOISTER_FIELDS(14, a, b, c, d, e, g, h, i, j, k, l, m, o, p)
  CLOISTER_FIELDS(15, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q)
  CLOISTER_FIELDS(16, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r)
  CLOISTER_FIELDS(17, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s)
  CLOISTER_FIELDS(18, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t)
  CLOISTER_FIELDS(19, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u)
  CLOISTER_FIELDS(20, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u, v)
  CLOISTER_FIELDS(21, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u, v, w)
  CLOISTER_FIELDS(22, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u, v, w, x)
  CLOISTER_FIELDS(23, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u, v, w, x, y)
  CLOISTER_FIELDS(24, a, b, c, d, e, g, h, i, j, k, l, m, o, p, q, r, s, t, u, v, w, x, y, z)
#undef CLOISTER_FIELDS
}

}  // namespace cloister::stream
