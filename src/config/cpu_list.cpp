// What is out is out wherever it stands, as for xl.
#include "config/cpu_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "text/trimmed.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char* cpu_list_form =
    "\"all\", or numbers, ranges and \"nodes:N-M\" of the host's processors with commas between them, with ^ before "
    "those that are left out, such as \"0-3,^1\"";
constexpr u32 most_number = 8191;

std::optional<u32> read_number(std::string_view text) {
  const auto number = whole_number<u32>(text);
  return number && *number <= most_number ? number : std::nullopt;
}

std::optional<CpuPart> read_part(std::string_view text) {
  CpuPart part;
  if (text.starts_with('^')) {
    part.out = true;
    text.remove_prefix(1);
  }
  for (const std::string_view word : {"nodes:", "node:"}) {
    if (!text.starts_with(word)) continue;
    text.remove_prefix(word.size());
    part.nodes = true;
    if (text.starts_with('^') && !part.out) {
      part.out = true;
      text.remove_prefix(1);
    }
    break;
  }
  const std::size_t dash = std::min(text.find('-'), text.size());
  const auto first = read_number(text.substr(0, dash));
  const auto last = dash == text.size() ? first : read_number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  part.first = *first;
  part.last = *last;
  return part;
}

}  // namespace

tl::expected<CpuList, std::string> read_cpu_list(std::string_view text) {
  if (trimmed(text) == "all") return CpuList();
  CpuList list;
  while (true) {
    const std::string_view field = text.substr(0, text.find(','));
    const auto part = read_part(trimmed(field));
    if (!part) return tl::unexpected(std::string(cpu_list_form));
    list.push_back(*part);
    if (field.size() == text.size()) break;
    text.remove_prefix(field.size() + 1);
  }
  if (std::ranges::all_of(list, &CpuPart::out)) return tl::unexpected(std::string(cpu_list_form));
  return list;
}

std::string to_text(const CpuList& list) {
  if (list.empty()) return "all";
  std::string text;
  for (const CpuPart& part : list) {
    text +=
        fmt::format("{}{}{}{}", text.empty() ? "" : ",", part.out ? "^" : "", part.nodes ? "nodes:" : "", part.first);
    if (part.last != part.first) text += fmt::format("-{}", part.last);
  }
  return text;
}

}  // namespace cloister::toolstack
