// Several JSON values in one text, one after the other, as a QMP session or libvirt's test data has them.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "text/diagnostic.hpp"

namespace cloister::toolstack::hosts {

struct JsonPiece {
  Position at;  ///< where it begins
  nlohmann::json value;
};

/// The error stands where the text stops being JSON.
tl::expected<std::vector<JsonPiece>, Diagnostic> read_json_stream(std::string_view text);

}  // namespace cloister::toolstack::hosts
