// What else is wrong with a text is for cloisterd to say, whose machine it is for.
#include "client/configuration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "config/domain_name.hpp"
#include "config/xl/parser.hpp"
#include "host/exit_status.hpp"
#include "host/whole_file.hpp"
#include "text/utf8.hpp"

namespace cloister::toolstack::client {
namespace {

auto wrong(std::string message) { return tl::unexpected(Failure{std::move(message), exit_status::bad_configuration}); }

}  // namespace

Answer<std::string> read_configuration(const std::string& file) {
  const auto text = read_within(file, longest_config);
  if (!text) return wrong(fmt::format("{}: cannot read: {}", file, text.error()));
  // A path in other bytes would be another one.
  if (const std::size_t at = find_invalid_utf8({reinterpret_cast<const char*>(text->data()), text->size()});
      at != std::string_view::npos) {
    const auto before = std::span(*text).first(at);
    const auto line = std::ranges::count(before, u8{'\n'}) + 1;
    const auto column =
        std::distance(std::ranges::find(before.rbegin(), before.rend(), u8{'\n'}).base(), before.end()) + 1;
    return wrong(fmt::format("{}:{}:{}: byte {:#04x}: expected UTF-8", file, line, column, (*text)[at]));
  }
  return std::string(text->begin(), text->end());
}

Answer<std::string> name_in(const std::string& text, const std::string& file) {
  const auto document = xl::parse(text);
  if (!document) return wrong(format(file, document.error()));
  const xl::Setting* const name = document->find("name");
  if (name == nullptr) return wrong(format(file, {{}, "the key 'name' is missing"}));
  // It becomes a part of a path.
  if (name->value.kind == xl::Value::Kind::list)
    return wrong(format(file, {name->value.at, std::string("'name': found a list, expected ").append(name_rule)}));
  if (const auto why = name_refused(name->value.text)) return wrong(format(file, {name->value.at, "'name': " + *why}));
  return name->value.text;
}

Answer<Json> request_with(const std::string& text, const std::string& file) {
  const std::string directory = std::filesystem::current_path().string();
  if (find_invalid_utf8(directory) != std::string::npos)
    return wrong(fmt::format("cloister: the name of this folder, '{}', is not UTF-8", valid_utf8(directory)));
  return Json{{"config", text}, {"file", file}, {"directory", directory}};
}

}  // namespace cloister::toolstack::client
