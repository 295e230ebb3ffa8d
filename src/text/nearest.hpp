// What a person may have meant: the name in a list that is the fewest typing errors away (Damerau and Levenshtein's
// distance, adjacent letters swapped counting once).
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace cloister::text {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The nearest of the candidates, the first of equals; nullopt if none is near enough to be meant.
std::optional<std::string_view> nearest(std::string_view name, std::span<const std::string_view> candidates);
/// Those that may be meant, the nearest first and equals in their order, `most` of them at most.
std::vector<std::string_view> nearest_few(std::string_view name, std::span<const std::string_view> candidates,
                                          std::size_t most);

}  // namespace cloister::text
