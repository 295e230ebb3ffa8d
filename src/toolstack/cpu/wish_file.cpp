// Policies as operators keep them: names on the command line, a baseline's JSON, or a domain in another tool's words.
#include <fmt/format.h>

#include <fmt/format.h>

#include <filesystem>

#include "toolstack/cpu/pool.hpp"
#include "toolstack/cpu_map_xml.hpp"
#include "toolstack/fd.hpp"
#include "toolstack/json_fields.hpp"
#include "toolstack/toml_reader.hpp"

namespace cloister::toolstack::cpu {

using policy::Wish;

MapAtHand map_at_hand() {
  auto map = load_cpu_map(libvirt_cpu_map_folder);
  if (map) return {std::move(*map), {}};
  return {policy::map_of_features(), map.error()};
}

tl::expected<Wish, std::string> read_wish_file(std::string_view text, const std::string& name,
                                               const policy::CpuMap& map) {
  const auto wrong = [&](const std::string& why) { return tl::unexpected(name + ": " + tables::printable(why)); };
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return wrong("found nothing, expected CPU flags or a domain");
  if (text[first] == '{') {
    const auto json = parse_object(text);
    if (!json) return wrong(json.error());
    auto wish = wish_of_json(*json);
    if (!wish) return wrong(wish.error());
    return *wish;
  }
  Wish wish = read_wish(text, map);
  if (wish.flags.empty() && wish.model.empty()) return wrong("found no CPU flag that is wanted");
  return wish;
}

tl::expected<Wish, std::string> load_wish(const std::string& policy, const policy::CpuMap& map) {
  std::error_code error;
  const bool file = std::filesystem::exists(policy, error);
  if (!file && policy.find('/') != std::string::npos) return tl::unexpected(policy + ": no such file");
  if (!file) {
    Wish wish = read_wish(policy, map);
    if (wish.flags.empty() && wish.model.empty()) {
      return tl::unexpected(fmt::format("'{}' names no CPU flag that is wanted", tables::printable(policy)));
    }
    return wish;
  }
  const auto bytes = read_file(policy);
  if (!bytes) return tl::unexpected(policy + ": " + bytes.error());
  return read_wish_file({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, policy, map);
}

}  // namespace cloister::toolstack::cpu
