// Edit distance by the usual table of prefixes, of which three rows are kept.
#include "text/nearest.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace cloister::text {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Rows of the table: the cost of turning the first letters of `a`, one more in each row, into the first j of `b`.
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::vector<std::string_view> nearest_few(std::string_view name, std::span<const std::string_view> candidates,
                                          std::size_t most) {
  // A name longer than any real one is not a typing error; nor are more mistakes than half the letters.
  constexpr std::size_t longest = 64;
  if (name.empty() || name.size() > longest) return {};
  const std::size_t limit = std::max<std::size_t>(1, name.size() / 2);
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const std::string_view candidate : candidates) {
    // Each letter too many or too few is a mistake of its own.
    if (candidate.size() > name.size() + limit || name.size() > candidate.size() + limit) continue;
    const std::size_t distance = edit_distance(name, candidate);
    if (distance <= limit) near.emplace_back(distance, candidate);
  }
  std::ranges::stable_sort(near, {}, &std::pair<std::size_t, std::string_view>::first);
  std::vector<std::string_view> few;
  for (const auto& [distance, candidate] : near) {
    if (few.size() < most) few.push_back(candidate);
  }
  return few;
}

std::optional<std::string_view> nearest(std::string_view name, std::span<const std::string_view> candidates) {
  const auto few = nearest_few(name, candidates, 1);
  return few.empty() ? std::nullopt : std::optional(few.front());
}

}  // namespace cloister::text
