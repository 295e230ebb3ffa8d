// A value of any plain type, no two fields of which are the same, as far as they can differ: what forgets a field, or
// mixes two up, is found out by it.
#pragma once

#include "stream/codec.hpp"

namespace cloister::tests {

class Filler {
 public:
  template <class T>
  void fill(T& value) {
    using namespace stream::detail;
    if constexpr (std::is_same_v<T, bool>) {
      value = true;
    } else if constexpr (std::integral<T>) {
      value = static_cast<T>(next());
    } else if constexpr (std::is_enum_v<T>) {
      // The last that is one.
      for (unsigned number = 0; number < 256; ++number) {
        if (is_value(static_cast<T>(number))) value = static_cast<T>(number);
      }
    } else if constexpr (is_optional<T>) {
      fill(value.emplace());
    } else if constexpr (is_array<T>) {
      for (auto& each : value) fill(each);
    } else if constexpr (is_list<T>) {
      value.resize(2);
      for (auto& each : value) fill(each);
    } else if constexpr (is_map<T>) {
      for (unsigned i = 0; i < 2; ++i) {
        typename T::key_type key{};
        fill(key);
        fill(value[key]);
      }
    } else {
      stream::for_each_field(value, [&self = *this](auto& field) { self.fill(field); });
    }
  }

 private:
  /// As wide a number as there is, whose every byte tells its turn.
  u64 next() {
    ++turn_;
    u64 number = 0;
    for (unsigned i = 0; i < 8; ++i) number = number << 8 | ((turn_ + 37 * i) & 0x7f);
    return number;
  }
  u64 turn_ = 0;
};

template <class T>
T filled() {
  T value{};
  Filler().fill(value);
  return value;
}

}  // namespace cloister::tests
