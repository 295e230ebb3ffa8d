// Plain values as bytes: numbers in little-endian order and as wide as they are, a bool as 0 or 1, what may be absent
// behind such a one, lists behind their length of four bytes, structs field by field. So a value's type is its format.
// Reading it takes nothing for granted: a length that the bytes left cannot hold is refused before memory is taken
// for it, as is any number that no value has.
#pragma once

#include <array>
#include <concepts>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "arch/types.hpp"
#include "stream/fields.hpp"

namespace cloister::stream {

namespace detail {

template <class T>
inline constexpr bool is_array = false;
template <class T, std::size_t N>
inline constexpr bool is_array<std::array<T, N>> = true;
template <class T>
inline constexpr bool is_bytes = false;
template <std::size_t N>
inline constexpr bool is_bytes<std::array<u8, N>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;
template <class T>
inline constexpr bool is_list<std::deque<T>> = true;
template <>
inline constexpr bool is_list<std::string> = true;
template <class T>
inline constexpr bool is_map = false;
template <class K, class V>
inline constexpr bool is_map<std::map<K, V>> = true;

}  // namespace detail

/// An enumeration says by a function is_value(E), beside it, which numbers are its values.
template <class E>
concept Enumeration = std::is_enum_v<E> && requires(E e) {
  { is_value(e) } -> std::same_as<bool>;
};

class Encoder {
 public:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      put(static_cast<u8>(value));
    } else if constexpr (std::unsigned_integral<T> || std::signed_integral<T>) {
      const auto* const from = reinterpret_cast<const u8*>(&value);
      bytes_.insert(bytes_.end(), from, from + sizeof value);
    } else if constexpr (std::is_enum_v<T>) {
      static_assert(Enumeration<T>, "is_value() is missing beside the enumeration");
      put(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (detail::is_optional<T>) {
      put(value.has_value());
      if (value) put(*value);
    } else if constexpr (detail::is_bytes<T>) {
      bytes_.insert(bytes_.end(), value.begin(), value.end());
    } else if constexpr (detail::is_array<T>) {
      for (const auto& each : value) put(each);
    } else if constexpr (detail::is_list<T>) {
      put(static_cast<u32>(value.size()));
      for (const auto& each : value) put(each);
    } else if constexpr (detail::is_map<T>) {
      put(static_cast<u32>(value.size()));
      for (const auto& [key, each] : value) {
        put(key);
        put(each);
      }
    } else {
      for_each_field(value, [&to = *this](const auto& field) { to.put(field); });
    }
  }
  std::vector<u8> take() { return std::move(bytes_); }
  void reserve(std::size_t bytes) { bytes_.reserve(bytes); }

 private:
  std::vector<u8> bytes_;
};

class Decoder {
 public:
  explicit Decoder(std::span<const u8> bytes) : rest_(bytes) {}

  /// False: the bytes are no such value; what has been read of it is of no use.
  template <class T>
  [[nodiscard]] bool get(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      u8 number = 0;
      if (!get(number) || number > 1) return false;
      value = number != 0;
      return true;
    } else if constexpr (std::unsigned_integral<T> || std::signed_integral<T>) {
      if (rest_.size() < sizeof value) return false;
      std::memcpy(&value, rest_.data(), sizeof value);
      rest_ = rest_.subspan(sizeof value);
      return true;
    } else if constexpr (std::is_enum_v<T>) {
      static_assert(Enumeration<T>, "is_value() is missing beside the enumeration");
      std::underlying_type_t<T> number{};
      if (!get(number)) return false;
      value = static_cast<T>(number);
      return is_value(value);
    } else if constexpr (detail::is_optional<T>) {
      bool there = false;
      if (!get(there)) return false;
      value.reset();
      return !there || get(value.emplace());
    } else if constexpr (detail::is_bytes<T>) {
      if (rest_.size() < value.size()) return false;
      std::memcpy(value.data(), rest_.data(), value.size());
      rest_ = rest_.subspan(value.size());
      return true;
    } else if constexpr (detail::is_array<T>) {
      for (auto& each : value) {
        if (!get(each)) return false;
      }
      return true;
    } else if constexpr (detail::is_list<T>) {
      u32 size = 0;
      // Each takes a byte at least.
      if (!get(size) || size > rest_.size()) return false;
      value.clear();
      for (u32 i = 0; i < size; ++i) {
        typename T::value_type each{};
        if (!get(each)) return false;
        value.push_back(std::move(each));
      }
      return true;
    } else if constexpr (detail::is_map<T>) {
      u32 size = 0;
      if (!get(size) || size > rest_.size()) return false;
      value.clear();
      for (u32 i = 0; i < size; ++i) {
        typename T::key_type key{};
        typename T::mapped_type each{};
        if (!get(key) || !get(each)) return false;
        if (!value.empty() && !(value.rbegin()->first < key)) return false;  // as it is written
        value.emplace_hint(value.end(), std::move(key), std::move(each));
      }
      return true;
    } else {
      bool all = true;
      for_each_field(value, [&all, &from = *this](auto& field) { all = all && from.get(field); });
      return all;
    }
  }
  std::size_t left() const { return rest_.size(); }

 private:
  std::span<const u8> rest_;
};

template <class T>
std::vector<u8> encode(const T& value) {
  Encoder to;
  to.reserve(sizeof value);
  to.put(value);
  return to.take();
}

/// Nullopt: the bytes are no such value, or more than one.
template <class T>
std::optional<T> decode(std::span<const u8> bytes) {
  Decoder from(bytes);
  T value{};
  if (!from.get(value) || from.left() != 0) return std::nullopt;
  return value;
}

}  // namespace cloister::stream
