// Reading elements of libvirt's domain XML: their text, numbers and sizes, the first error with its place, and what is
// ignored.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "interop/vm/among.hpp"
#include "text/diagnostic.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::vm {

class LibvirtElements {
 public:
  using Node = pugi::xml_node;

  explicit LibvirtElements(xml::Document document) : document_(std::move(document)) {}

  const xml::Document& document() const { return document_; }
  Position position_of(Node node) const { return document_.position_of(node); }

  /// The first error counts.
  void fail(Node at, const std::string& message) { fail(Diagnostic{position_of(at), message}); }
  void fail(Diagnostic diagnostic) {
    if (!error_) error_ = std::move(diagnostic);
  }
  void wrong(Node at, std::string_view what, std::string_view found, std::string_view expected);
  const std::optional<Diagnostic>& error() const { return error_; }

  void ignore(Diagnostic diagnostic) { ignored_.push_back(std::move(diagnostic)); }
  void ignore(Node node, const std::string& message) { ignore(Diagnostic{position_of(node), message}); }
  void ignore(Node node);
  template <std::size_t n>
  void ignore_all_but(Node parent, const std::string_view (&silent)[n]) {
    for (const Node node : parent.children()) {
      if (node.type() == pugi::node_element && !among(node.name(), silent)) ignore(node);
    }
  }
  /// In the order of their places.
  std::vector<Diagnostic> take_ignored();

  /// All text directly in the element.
  static std::string text_of(Node node);
  /// The same, and no two of the same.
  void text(Node node, std::string& to);
  u64 number(Node node, std::string_view text, u64 least, u64 most);
  /// A scaled integer in KiB, with the unit of the node's attribute; the error: what was found and expected.
  static tl::expected<u64, std::string> kib_of(Node node, std::string_view text, u64 least = 1);
  /// The same; 0 after an error.
  u64 size(Node node, std::string_view text, u64 least = 1);

 private:
  xml::Document document_;
  std::optional<Diagnostic> error_;
  std::vector<Diagnostic> ignored_;
};

}  // namespace cloister::toolstack::vm
