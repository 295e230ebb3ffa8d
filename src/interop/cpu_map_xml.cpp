// What libvirt's src/cpu/cpu_map.c and cpu_x86.c take a map's elements for, in all versions up to 12. What a later one
// adds is passed over, and named, for it may change what a model consists of.
#include "interop/cpu_map_xml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <set>

#include "arch/try.hpp"
#include "host/whole_file.hpp"
#include "text/shown.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack {

namespace {

using policy::MapBits;
using policy::MapFeature;
using policy::MapModel;

std::string in_quotes(std::string_view text) { return '\'' + printable(text) + '\''; }

/// Leaf 1 EAX of a family, model and stepping (SDM vol. 2A, CPUID, "Version Information").
u32 signature_of(u32 family, u32 model, u32 stepping) {
  constexpr u32 extended_from = 0xf;
  const u32 base = std::min(family, extended_from), extended = family - base;
  return extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xf) << 4 | stepping;
}

/// The elements of an x86 map, and all attributes that any version of libvirt reads.
struct Grammar {
  std::string_view element;
  std::array<std::string_view, 7> attributes;
};
constexpr Grammar grammar[] = {
    {"arch", {"name"}},
    {"group", {"name"}},
    {"include", {"filename"}},
    {"vendor", {"name", "string"}},
    {"feature", {"name", "migratable", "removed", "added"}},
    {"alias", {"name", "source"}},
    {"cpuid", {"eax_in", "ecx_in", "eax", "ebx", "ecx", "edx", "function"}},
    {"msr", {"index", "eax", "edx"}},
    {"model", {"name"}},
    {"decode", {"host", "guest"}},
    {"signature", {"family", "model", "stepping"}},
    // How a domain is held against its host (check='partial'), not what the model is.
    {"check", {"partial"}},
};

/// Reads the elements of one file into the map; the first error ends it.
class MapReader {
 public:
  MapReader(policy::CpuMap& map, const MapFiles& files) : map_(map), files_(files) {}

  bool read_first(const std::string& name) {
    const auto text = files_(name);
    return text ? read_text(name, *text) : stop(name, {{}, "cannot read: " + text.error()});
  }

  MapError error() { return std::move(*error_); }

 private:
  struct File {
    std::string name;
    const xml::Document* document = nullptr;
  };

  bool stop(std::string file, Diagnostic diagnostic) {
    if (!error_) error_ = MapError{std::move(file), std::move(diagnostic)};
    return false;
  }
  bool wrong(pugi::xml_node node, std::string message) {
    return stop(file_.name, {file_.document->position_of(node), std::move(message)});
  }

  bool read_text(const std::string& name, const std::string& text) {
    seen_.insert(name);
    const auto document = xml::Document::parse(text);
    if (!document) return stop(name, document.error());
    // An included file stands inside of the one that includes it.
    const File outer = std::exchange(file_, File{name, &*document});
    const bool read = read_elements(document->root());
    file_ = outer;
    return read;
  }

  bool read_elements(pugi::xml_node parent) {
    // index.xml has an architecture, perhaps a group, and an included file inside of each other.
    constexpr unsigned deepest = 16;
    if (depth_ == deepest) return wrong(parent, "found elements nested too deep");
    ++depth_;
    const bool read = std::ranges::all_of(parent.children(), [&](pugi::xml_node node) { return read_element(node); });
    --depth_;
    return read;
  }

  /// Once for each kind: a later version repeats what it adds in every model.
  void leave_unread(pugi::xml_node node, const std::string& what) {
    if (!unread_.insert(what).second) return;
    map_.unread.push_back(format(file_.name, {file_.document->position_of(node), what}));
  }

  void look_for_news(pugi::xml_node node) {
    if (node.type() != pugi::node_element) return;
    const auto* const known = std::ranges::find(grammar, std::string_view(node.name()), &Grammar::element);
    if (known == std::end(grammar)) return leave_unread(node, fmt::format("<{}>", printable(node.name())));
    for (const pugi::xml_attribute attribute : node.attributes()) {
      if (std::ranges::find(known->attributes, std::string_view(attribute.name())) == known->attributes.end())
        leave_unread(node, fmt::format("{} of <{}>", in_quotes(attribute.name()), known->element));
    }
    // An architecture is read by its own elements, and others than x86 not at all.
    const bool holds_others = known->element == "arch" || known->element == "group";
    if (holds_others) return;
    for (const pugi::xml_node part : node.children()) look_for_news(part);
  }

  bool read_element(pugi::xml_node node) {
    look_for_news(node);
    const std::string_view name = node.name();
    if (name == "arch") return node.attribute("name").value() != std::string_view("x86") || read_elements(node);
    if (name == "group") return read_elements(node);
    if (name == "include") return read_include(node);
    if (name == "feature") return read_feature(node);
    if (name == "model") return read_model(node);
    return true;
  }

  bool read_include(pugi::xml_node node) {
    const std::filesystem::path path = node.attribute("filename").value();
    const bool inside = !path.empty() && path.is_relative() && std::ranges::find(path, "..") == path.end();
    if (!inside) {
      return wrong(node,
                   fmt::format("'filename': found {}, expected a file of the map's folder", in_quotes(path.native())));
    }
    const std::string name = path.lexically_normal();
    if (seen_.contains(name)) return true;
    const auto text = files_(name);
    return text ? read_text(name, *text)
                : wrong(node, fmt::format("cannot read {}: {}", in_quotes(name), text.error()));
  }

  /// An attribute with a number up to `most`; absent: `otherwise`, or an error if there is none.
  bool number(pugi::xml_node node, const char* attribute, u32& to, u32 most = ~u32{0},
              std::optional<u32> otherwise = std::nullopt) {
    const pugi::xml_attribute found = node.attribute(attribute);
    if (!found && otherwise) {
      to = *otherwise;
      return true;
    }
    const auto value = xml::number(found.value());
    if (!value || *value > most) {
      return wrong(node, fmt::format("'{}': found {}, expected a number up to {:#x}", attribute,
                                     found ? in_quotes(found.value()) : "nothing", most));
    }
    to = static_cast<u32>(*value);
    return true;
  }

  /// "yes" or "no", which is also meant where nothing is said.
  bool yes_or_no(pugi::xml_node node, const char* attribute, bool& to) {
    const std::string_view word = node.attribute(attribute).as_string("no");
    to = word == "yes";
    return to || word == "no" ||
           wrong(node, fmt::format("'{}': found {}, expected 'yes' or 'no'", attribute, in_quotes(word)));
  }

  bool name_of(pugi::xml_node node, std::string& to) {
    to = node.attribute("name").value();
    return !to.empty() || wrong(node, fmt::format("found a <{}> without a name", node.name()));
  }

  bool read_bits(pugi::xml_node node, MapBits& bits) {
    // Before 1.2.14, eax_in was called function.
    const char* const leaf = node.attribute("eax_in") || !node.attribute("function") ? "eax_in" : "function";
    constexpr u32 any = ~u32{0};
    if (!number(node, leaf, bits.leaf) || !number(node, "ecx_in", bits.subleaf, any, 0) ||
        !number(node, "eax", bits.mask.eax, any, 0) || !number(node, "ebx", bits.mask.ebx, any, 0) ||
        !number(node, "ecx", bits.mask.ecx, any, 0) || !number(node, "edx", bits.mask.edx, any, 0)) {
      return false;
    }
    return bits.mask != arch::CpuidRegs{} || wrong(node, "found no bit, expected one in 'eax', 'ebx', 'ecx' or 'edx'");
  }

  bool read_feature(pugi::xml_node node) {
    MapFeature feature;
    if (!name_of(node, feature.name)) return false;
    if (!features_.insert(feature.name).second) {
      return wrong(node, fmt::format("found feature {} a second time", in_quotes(feature.name)));
    }
    feature.migratable = node.attribute("migratable").value() != std::string_view("no");
    for (const pugi::xml_node part : node.children()) {
      const std::string_view kind = part.name();
      if (kind == "alias") {
        std::string alias;
        if (!name_of(part, alias)) return false;
        feature.aliases.push_back(std::move(alias));
      } else if (kind == "cpuid") {
        MapBits bits;
        if (!read_bits(part, bits)) return false;
        if (feature.cpuid) {
          feature.also.push_back(bits);
        } else {
          feature.cpuid = bits;
        }
      } else if (kind == "msr") {
        u32 index = 0, eax = 0, edx = 0;
        constexpr u32 any = ~u32{0};
        if (!number(part, "index", index) || !number(part, "eax", eax, any, 0) || !number(part, "edx", edx, any, 0))
          return false;
        feature.msr = index;
        feature.msr_bits = u64{edx} << 32 | eax;
      }
    }
    if (!feature.cpuid && !feature.msr) {
      return wrong(node,
                   fmt::format("found feature {} without bits, expected <cpuid> or <msr>", in_quotes(feature.name)));
    }
    map_.features.push_back(std::move(feature));
    return true;
  }

  /// "5", "0-4", "0-4,7"; nothing: every one, which is stepping 0 in the map.
  bool read_steppings(pugi::xml_node node, std::vector<u32>& to) {
    const std::string_view text = node.attribute("stepping").value();
    constexpr u64 last = 15;
    if (text.empty()) to.push_back(0);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find(',', at), text.size());
      const std::string_view range = text.substr(at, end - at);
      const std::size_t dash = range.find('-');
      const auto from = xml::number(range.substr(0, dash));
      const auto until = dash == range.npos ? from : xml::number(range.substr(dash + 1));
      if (!from || !until || *from > *until || *until > last) {
        return wrong(node, fmt::format("'stepping': found {}, expected steppings such as 0-4,7", in_quotes(text)));
      }
      for (u64 stepping = *from; stepping <= *until; ++stepping) to.push_back(static_cast<u32>(stepping));
      at = end + 1;
    }
    return true;
  }

  bool read_signature(pugi::xml_node node, MapModel& model) {
    u32 family = 0, number_of_model = 0;
    std::vector<u32> steppings;
    if (!number(node, "family", family, 0xf + 0xff) || !number(node, "model", number_of_model, 0xff) ||
        !read_steppings(node, steppings)) {
      return false;
    }
    for (const u32 stepping : steppings) model.signatures.push_back(signature_of(family, number_of_model, stepping));
    return true;
  }

  static void add(const std::string& feature, MapModel& model) {
    if (std::ranges::find(model.features, feature) == model.features.end()) model.features.push_back(feature);
  }

  /// What a model takes from the one that it is made from.
  bool inherit(pugi::xml_node node, MapModel& model) {
    std::string name;
    if (!name_of(node, name)) return false;
    const MapModel* const parent = map_.find_model(name);
    if (parent == nullptr) {
      return wrong(node, fmt::format("found model {}, expected one that the map has defined before", in_quotes(name)));
    }
    model.vendor = parent->vendor;
    model.signatures = parent->signatures;
    // What its parent had to give up, it never had.
    for (const std::string& feature : parent->features) {
      if (std::ranges::find(parent->removed, feature) == parent->removed.end()) model.features.push_back(feature);
    }
    return true;
  }

  bool read_model(pugi::xml_node node) {
    MapModel model;
    if (!name_of(node, model.name)) return false;
    if (map_.find_model(model.name) != nullptr) {
      return wrong(node, fmt::format("found model {} a second time", in_quotes(model.name)));
    }
    if (const pugi::xml_node parent = node.child("model"); parent && !inherit(parent, model)) return false;
    if (node.child("signature")) model.signatures.clear();
    for (const pugi::xml_node part : node.children()) {
      const std::string_view kind = part.name();
      if (kind == "signature" && !read_signature(part, model)) return false;
      if (kind == "vendor" && !name_of(part, model.vendor)) return false;
      if (kind == "decode") {
        model.for_host = part.attribute("host").value() != std::string_view("off");
        model.for_guest = part.attribute("guest").value() != std::string_view("off");
      }
      if (kind != "feature") continue;
      std::string feature;
      if (!name_of(part, feature)) return false;
      if (!features_.contains(feature)) {
        return wrong(part,
                     fmt::format("found feature {}, expected one that the map has defined before", in_quotes(feature)));
      }
      // Removed: the model had it once, and libvirt keeps the name for domains that were defined then. Added: QEMU's
      // model has it, and libvirt's never had, so it is the host's, or the guest's, beyond the model.
      bool removed = false, added = false;
      if (!yes_or_no(part, "removed", removed) || !yes_or_no(part, "added", added)) return false;
      if (removed) model.removed.push_back(feature);
      if (!removed && !added) add(feature, model);
    }
    map_.models.push_back(std::move(model));
    return true;
  }

  policy::CpuMap& map_;
  const MapFiles& files_;
  File file_;
  unsigned depth_ = 0;
  std::set<std::string> seen_;
  std::set<std::string, std::less<>> features_;
  std::set<std::string> unread_;
  std::optional<MapError> error_;
};

}  // namespace

tl::expected<policy::CpuMap, MapError> read_cpu_map(const std::string& first, const MapFiles& files) {
  policy::CpuMap map;
  MapReader reader(map, files);
  if (!reader.read_first(first)) return tl::unexpected(reader.error());
  if (map.features.empty()) {
    return tl::unexpected(MapError{first, {{}, "found no x86 <feature>, expected libvirt's map of CPUs"}});
  }
  return map;
}

tl::expected<policy::CpuMap, std::string> load_cpu_map(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool folder = fs::is_directory(path, ignored);
  const fs::path base = folder ? fs::path(path) : fs::path(path).parent_path();
  const std::string first = folder ? "index.xml" : fs::path(path).filename().string();
  auto map = read_cpu_map(first, [&](const std::string& name) -> tl::expected<std::string, std::string> {
    const auto bytes = TRY(read_within(base / name, longest_text));
    return std::string(bytes.begin(), bytes.end());
  });
  if (!map) return tl::unexpected(format(base / map.error().file, map.error().diagnostic));
  return std::move(*map);
}

}  // namespace cloister::toolstack
