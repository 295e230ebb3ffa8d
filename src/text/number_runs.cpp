#include "text/number_runs.hpp"

#include <algorithm>

#include "text/whole_number.hpp"

namespace cloister::toolstack {

namespace {

std::optional<u32> number_below(std::string_view text, u32 end) {
  const auto number = whole_number<u32>(text);
  return number && *number < end ? number : std::nullopt;
}

}  // namespace

std::optional<std::vector<u32>> read_runs(std::string_view text, u32 end) {
  std::vector<bool> chosen(end);
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view run = text.substr(0, comma);
    const bool without = run.starts_with('^');
    if (without) run.remove_prefix(1);
    const std::size_t dash = std::min(run.find('-'), run.size());
    const auto first = number_below(run.substr(0, dash), end);
    const auto last = dash == run.size() ? first : number_below(run.substr(dash + 1), end);
    if (!first || !last || *last < *first) return std::nullopt;
    std::fill(chosen.begin() + *first, chosen.begin() + *last + 1, !without);
    if (comma == text.size()) break;
    text.remove_prefix(comma + 1);
  }
  std::vector<u32> numbers;
  for (u32 number = 0; number < end; ++number) {
    if (chosen[number]) numbers.push_back(number);
  }
  return numbers;
}

std::vector<std::string> runs_of(const std::vector<u32>& numbers) {
  std::vector<std::string> runs;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    runs.push_back(end == i + 1 ? std::to_string(numbers[i])
                                : std::to_string(numbers[i]) + '-' + std::to_string(numbers[end - 1]));
    i = end;
  }
  return runs;
}

}  // namespace cloister::toolstack
