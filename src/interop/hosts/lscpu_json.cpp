// lscpu -J (lscpu(1) of util-linux): {"lscpu":[{"field":"Flags:","data":"fpu vme …"}, …]}, where those of 2.37 and
// later have groups with their lines as "children". What it says is what lscpu says without -J.
#include "interop/hosts/formats.hpp"
#include "interop/hosts/json_stream.hpp"

namespace cloister::toolstack::hosts {

namespace {

constexpr const char* root = "lscpu";
constexpr unsigned deepest = 4;

void add_lines(const nlohmann::json& list, std::string& text, unsigned depth) {
  if (!list.is_array() || depth > deepest) return;
  for (const nlohmann::json& line : list) {
    if (!line.is_object()) continue;
    const auto word = [&line](const char* key) {
      const auto found = line.find(key);
      return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    text += word("field") + ' ' + word("data") + '\n';
    if (const auto children = line.find("children"); children != line.end()) add_lines(*children, text, depth + 1);
  }
}

}  // namespace

std::optional<std::string> lscpu_text(std::string_view json) {
  if (json.find(root) == json.npos) return std::nullopt;
  const auto pieces = read_json_stream(json);
  if (!pieces || pieces->size() != 1 || !pieces->front().value.is_object()) return std::nullopt;
  const auto found = pieces->front().value.find(root);
  if (found == pieces->front().value.end()) return std::nullopt;
  std::string text;
  add_lines(*found, text, 0);
  return text;
}

}  // namespace cloister::toolstack::hosts
