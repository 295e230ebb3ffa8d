// A section's string is fields with commas between them, each NAME=NUMBER, in any order.
#include "config/epc_sections.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "arch/try.hpp"
#include "config/values.hpp"
#include "config/xl/quoted.hpp"
#include "text/nearest.hpp"
#include "text/trimmed.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

constexpr std::string_view fields[] = {"size", "package"};

/// One element of the list as a setting of its own, so that errors stand there.
struct Element {
  const xl::Setting& list;
  const xl::Value& value;

  Failed error(const std::string& message) const {
    return Failed(Diagnostic{value.at, "'" + list.name + "': " + message});
  }
  tl::expected<u64, Diagnostic> number(std::string_view field, std::string_view text, u64 least, u64 most,
                                       std::string_view unit) const {
    xl::Value number{.kind = xl::Value::Kind::string, .text = std::string(text), .list = {}, .at = value.at};
    return read_integer({.name = fmt::format("{}: {}", list.name, field), .at = value.at, .value = std::move(number)},
                        least, most, unit);
  }
};

tl::expected<EpcSection, Diagnostic> read_section(const Element& element, u64 most_mib) {
  const auto unexpected = [&](const std::string& expected) {
    return element.error(fmt::format("found {}, expected {}", shown(element.value), expected));
  };
  constexpr const char* form = "\"size=MIB\" or \"size=MIB,package=N\"";
  if (element.value.kind != xl::Value::Kind::string) return unexpected(form);
  std::optional<u64> mib, package;
  std::string_view rest = element.value.text;
  while (true) {
    const std::string_view field = rest.substr(0, rest.find(','));
    const std::size_t equals = std::min(field.find('='), field.size());
    const std::string_view name = trimmed(field.substr(0, equals));
    std::optional<u64>* const to = name == fields[0] ? &mib : name == fields[1] ? &package : nullptr;
    if (to == nullptr) {
      const auto near = text::nearest(name, fields);
      return unexpected(near ? fmt::format("'{}'", *near) : form);
    }
    if (equals == field.size()) return unexpected(form);
    if (*to) return unexpected(fmt::format("'{}' once", name));
    const std::string_view digits = trimmed(field.substr(equals + 1));
    *to = TRY(to == &mib ? element.number(name, digits, 1, most_mib, "MiB")
                         : element.number(name, digits, 0, limits::most_package, {}));
    if (field.size() == rest.size()) break;
    rest.remove_prefix(field.size() + 1);
  }
  if (!mib) return unexpected(form);
  EpcSection section{.mib = *mib, .package = std::nullopt};
  if (package) section.package = static_cast<u32>(*package);
  return section;
}

}  // namespace

tl::expected<std::vector<EpcSection>, Diagnostic> read_epc_sections(const xl::Setting& setting, u64 most_mib) {
  std::vector<EpcSection> sections;
  u64 sum = 0;
  for (const xl::Value& value : setting.value.list) {
    const Element element{setting, value};
    const auto section = TRY(read_section(element, most_mib));
    sum += section.mib;
    if (sum > most_mib) {
      return element.error(fmt::format("found {} MiB in all sections, expected {} at most", sum, most_mib));
    }
    if (sections.size() == most_epc_sections) {
      return element.error(fmt::format("found more than {} sections, which is what Linux reads", most_epc_sections));
    }
    sections.push_back(section);
  }
  return sections;
}

std::string epc_sections_text(const std::vector<EpcSection>& sections) {
  if (sections.empty()) return "0";
  if (sections.size() == 1 && !sections.front().package) return fmt::to_string(sections.front().mib);
  std::vector<std::string> texts;
  for (const EpcSection& section : sections) {
    const std::string package = section.package ? fmt::format(",package={}", *section.package) : "";
    texts.push_back(xl::quoted(fmt::format("size={}{}", section.mib, package)));
  }
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

}  // namespace cloister::toolstack
