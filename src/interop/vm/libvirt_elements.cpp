#include "interop/vm/libvirt_elements.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/sizes.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

void LibvirtElements::wrong(Node at, std::string_view what, std::string_view found, std::string_view expected) {
  fail(at, fmt::format("{}: found {}, expected {}", what, shown(found), expected));
}

void LibvirtElements::ignore(Node node) {
  ignore(node, fmt::format("{} in {} is ignored", shown(node.name()), shown(node.parent().name())));
}

std::vector<Diagnostic> LibvirtElements::take_ignored() {
  std::ranges::stable_sort(ignored_, {}, [](const Diagnostic& d) { return std::pair(d.at.line, d.at.column); });
  return std::move(ignored_);
}

std::string LibvirtElements::text_of(Node node) {
  std::string text;
  for (const Node child : node.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) text += child.value();
  }
  return text;
}

void LibvirtElements::text(Node node, std::string& to) {
  if (!to.empty()) fail(node, fmt::format("{} is there twice", shown(node.name())));
  to = text_of(node);
}

u64 LibvirtElements::number(Node node, std::string_view text, u64 least, u64 most) {
  const auto value = xml::number(text);
  if (value && *value >= least && *value <= most) return *value;
  wrong(node, shown(node.name()), text, fmt::format("a number from {} to {}", least, most));
  return least;
}

/// virParseScaledValue (src/util/virxml.c): decimal, blanks before it alone, no sign below zero.
tl::expected<u64, std::string> LibvirtElements::kib_of(Node node, std::string_view text, u64 least) {
  const pugi::xml_attribute attribute = node.attribute("unit");
  const auto unit = bytes_of_unit(attribute ? attribute.value() : "KiB");
  if (!unit)
    return tl::unexpected(
        fmt::format("found {}, expected a unit such as 'KiB', 'MiB' or 'GiB'", shown(attribute.value())));
  std::string_view digits = text;
  digits.remove_prefix(std::min(digits.find_first_not_of(" \t\r\n"), digits.size()));
  const auto count = read_whole(digits, ~u64{0});
  const auto kib = count ? in_kib(*count, *unit) : std::nullopt;
  if (kib && *kib >= least) return *kib;
  return tl::unexpected(fmt::format("found {}, expected a size from {} to {} KiB", shown(text), least, most_kib));
}

u64 LibvirtElements::size(Node node, std::string_view text, u64 least) {
  const auto kib = kib_of(node, text, least);
  if (!kib) fail(node, fmt::format("{}: {}", shown(node.name()), kib.error()));
  return kib.value_or(0);
}

}  // namespace cloister::toolstack::vm
