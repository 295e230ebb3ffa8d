#include "interop/vm/libvirt_cpu.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/nodes.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

/// Indices are those of the enumerations.
constexpr std::string_view policies[] = {"force", "require", "optional", "disable", "forbid"};
constexpr std::string_view modes[] = {"", "custom", "host-model", "host-passthrough", "maximum"};

class LibvirtCpuReader {
 public:
  using Node = pugi::xml_node;

  explicit LibvirtCpuReader(LibvirtElements& in) : in_(in) {}

  LibvirtCpu read(Node parent) {
    cpu(parent);
    return std::move(read_);
  }

 private:
  void cpu(Node parent) {
    const std::string_view mode = parent.attribute("mode").value();
    const auto* const found = std::ranges::find(modes, mode);
    if (found == std::end(modes)) {
      return in_.wrong(parent, "'mode' of 'cpu'", mode, "'custom', 'host-model', 'host-passthrough' or 'maximum'");
    }
    read_.cpu.mode = static_cast<CpuMode>(found - std::begin(modes));
    if (const pugi::xml_attribute match = parent.attribute("match");
        match && std::string_view(match.value()) != "exact") {
      read_.cpu.strict = std::string_view(match.value()) == "strict";
      in_.ignore(parent, fmt::format("match={} of 'cpu' is ignored: the model counts as it is", shown(match.value())));
    }
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "model") {
        in_.text(node, read_.cpu.model);
        // libvirt writes <model fallback='allow'/> for host-model.
        if (!read_.cpu.model.empty() && !is_word(read_.cpu.model))
          in_.wrong(node, "'model' of 'cpu'", read_.cpu.model, "a model's name");
      } else if (name == "arch") {
        if (const std::string arch = in_.text_of(node); arch != "x86_64" && arch != "i686")
          in_.wrong(node, "'arch' of 'cpu'", arch, "'x86_64' or 'i686'");
      } else if (name == "vendor") {
        read_.cpu.vendor = in_.text_of(node);
        in_.ignore(node);
      } else if (name == "feature") {
        feature(node);
      } else if (name == "numa") {
        cells(node);
      } else {
        in_.ignore(node);
      }
    }
    settle_mode(parent);
  }

  /// Without a mode, a model is meant if there is one.
  void settle_mode(Node node) {
    Cpu& cpu = read_.cpu;
    if (cpu.mode == CpuMode::unspecified && !cpu.model.empty()) cpu.mode = CpuMode::custom;
    if (cpu.mode == CpuMode::custom && cpu.model.empty()) in_.fail(node, "'cpu' has mode 'custom' and no 'model'");
    // libvirt writes the model that `host-model` became in a domain that runs.
    if (cpu.mode != CpuMode::custom) cpu.model.clear();
  }

  void feature(Node node) {
    const std::string_view word = node.attribute("name").value(), policy = node.attribute("policy").value();
    if (!is_word(word)) return in_.wrong(node, "'name' of 'feature'", word, "a CPU feature's name");
    CpuFeature feature{.name = name_of_word(word, policy::Tool::libvirt), .at = in_.position_of(node)};
    if (node.attribute("policy")) {
      const auto* const found = std::ranges::find(policies, policy);
      if (found == std::end(policies)) {
        return in_.wrong(node, "'policy' of 'feature'", policy,
                         "'force', 'require', 'optional', 'disable' or 'forbid'");
      }
      feature.policy = static_cast<FeaturePolicy>(found - std::begin(policies));
    }
    std::vector<CpuFeature>& features = read_.cpu.features;
    if (std::ranges::find(features, feature.name, &CpuFeature::name) != features.end()) {
      return in_.fail(node, fmt::format("the feature {} is there twice", shown(word)));
    }
    if (features.size() == most_features)
      return in_.fail(node, fmt::format("'cpu' has {} features at most", most_features));
    if (feature.name == "sgx-provisionkey") read_.provision = is_on(feature.policy);
    features.push_back(std::move(feature));
  }

  void cells(Node parent) {
    read_.numa = parent;
    std::vector<bool> there;
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      if (std::string_view(node.name()) != "cell") {
        in_.ignore(node);
        continue;
      }
      if (read_.cells.size() == most_guest_nodes)
        return in_.fail(node, fmt::format("'numa' has {} cells at most", most_guest_nodes));
      GuestNode cell{.kib = in_.size(node, node.attribute("memory").value(), 0)};
      if (const pugi::xml_attribute cpus = node.attribute("cpus")) {
        auto read = read_cpus(cpus.value());
        if (!read) return in_.wrong(node, "'cpus' of 'cell'", cpus.value(), "processors such as '0-3'");
        cell.cpus = std::move(*read);
      }
      for (const Node inner : node.children()) {
        if (inner.type() == pugi::node_element) in_.ignore(inner);
      }
      // Cells stand in any order of their numbers.
      u64 id = read_.cells.size();
      if (const pugi::xml_attribute said = node.attribute("id"))
        id = in_.number(node, said.value(), 0, most_guest_nodes - 1);
      if (read_.cells.size() <= id) read_.cells.resize(id + 1);
      there.resize(read_.cells.size());
      if (there[id]) return in_.fail(node, fmt::format("the cell {} is there twice", id));
      read_.cells[id] = std::move(cell);
      there[id] = true;
    }
    if (const auto lacking = std::ranges::find(there, false); lacking != there.end())
      in_.fail(parent, fmt::format("the cell {} is missing", lacking - there.begin()));
  }

  LibvirtElements& in_;
  LibvirtCpu read_;
};

}  // namespace

LibvirtCpu read_libvirt_cpu(LibvirtElements& in, pugi::xml_node cpu) { return LibvirtCpuReader(in).read(cpu); }

}  // namespace cloister::toolstack::vm
