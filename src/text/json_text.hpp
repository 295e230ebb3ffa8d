// The one way from a JSON value to text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cloister::toolstack {

/// UTF-8: bytes of strings that are not are replaced by U+FFFD. indent: a level's; -1: all in one line. Json: of
/// nlohmann's, ordered or not.
template <class Json = nlohmann::json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cloister::toolstack
