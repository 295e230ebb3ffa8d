// QEMU's answers to QMP commands (qapi/misc-target.json, qapi/machine-target.json), bare or as "return" of a session:
//
//     query-sgx-capabilities    {"sgx": true, "sgx1": …, "sgx2": …, "flc": …, "sections": [{"node": 0, "size":
//     93954048}]} query-cpu-model-expansion {"model": {"name": "host", "props": {"sgx": true, "sgx-debug": true, …}}}
//
// Other answers may stand between them. Of several that say the same, the last one counts.
#include <fmt/format.h>

#include "toolstack/hosts/formats.hpp"
#include "toolstack/hosts/json_stream.hpp"

namespace cloister::toolstack::hosts {

namespace {

using nlohmann::json;
using policy::EpcSectionView;
using policy::HostView;
using Step = tl::expected<void, std::string>;

bool is_sgx_info(const json& answer) { return answer.contains("sgx") && answer["sgx"].is_boolean(); }

tl::expected<EpcSectionView, std::string> read_section(const json& section) {
  if (!section.is_object() || !section.contains("size") || !section["size"].is_number_unsigned())
    return tl::unexpected(std::string("found a section without 'size', expected its bytes"));
  EpcSectionView view{.base = std::nullopt, .bytes = section["size"].get<u64>(), .property = 0, .node = std::nullopt};
  if (!section.contains("node")) return view;
  const json& node = section["node"];
  if (!node.is_number_unsigned() || node.get<u64>() > 0xffff'ffff)
    return tl::unexpected(std::string("found a section whose 'node' is no number, expected a NUMA node"));
  view.node = static_cast<u32>(node.get<u64>());
  return view;
}

Step read_sgx_info(const json& answer, HostView& host) {
  constexpr std::pair<const char*, const char*> members[] = {
      {"sgx", "sgx"}, {"sgx1", "sgx1"}, {"sgx2", "sgx2"}, {"flc", "sgxlc"}};
  for (const auto& [member, feature] : members) {
    if (!answer.contains(member)) continue;
    if (!answer[member].is_boolean())
      return tl::unexpected(fmt::format("found '{}' that is not true or false", member));
    host.named[feature] = answer[member].get<bool>();
  }
  if (answer.contains("sections")) {
    if (!answer["sections"].is_array()) return tl::unexpected(std::string("found 'sections' that is no list"));
    std::vector<EpcSectionView> sections;
    for (const json& element : answer["sections"]) {
      const auto section = read_section(element);
      if (!section) return tl::unexpected(section.error());
      sections.push_back(*section);
    }
    host.epc = std::move(sections);
  } else if (answer.contains("section-size")) {
    // QEMU 6.2 gives only the sum.
    const auto sum = read_section({{"size", answer["section-size"]}});
    if (!sum) return tl::unexpected(std::string("found 'section-size' that is no number, expected bytes"));
    host.epc.emplace();
    if (sum->bytes != 0) host.epc->push_back(*sum);
  }
  return {};
}

Step read_model(const json& model, HostView& host) {
  if (!model.contains("props")) return {};
  if (!model["props"].is_object()) return tl::unexpected(std::string("found 'props' that is no object"));
  for (const auto& [name, value] : model["props"].items()) {
    if (!value.is_boolean()) continue;  // numbers and words are no flags
    if (const policy::Feature* const feature = policy::find_feature(name))
      host.named[policy::first_name(*feature)] = value.get<bool>();
  }
  // These three are no model's name.
  const std::string name = model.value("name", json()).is_string() ? model["name"].get<std::string>() : "";
  if (!name.empty() && name != "base" && name != "host" && name != "max") host.model = shown(name);
  return {};
}

void add_source(HostView& host, std::string_view command) {
  if (host.source.find(command) != host.source.npos) return;
  host.source += std::string(host.source.empty() ? "QEMU's " : " and ").append(command);
}

/// One answer; `error` keeps what QEMU said went wrong.
Step read_answer(const json& whole, HostView& host, std::string& error) {
  if (!whole.is_object()) return {};
  if (const auto failed = whole.find("error"); failed != whole.end() && failed->is_object()) {
    const json text = failed->value("desc", json());
    error = text.is_string() ? text.get<std::string>() : "no reason given";
    // QEMU's words for a /dev/sgx_vepc that it cannot open, whatever the reason.
    if (error.starts_with("SGX is not enabled")) {
      add_source(host, "query-sgx-capabilities");
      host.named["sgx"] = false;
    }
    return {};
  }
  const json& answer = whole.contains("return") ? whole["return"] : whole;
  if (!answer.is_object()) return {};
  if (is_sgx_info(answer)) {
    add_source(host, "query-sgx-capabilities");
    return read_sgx_info(answer, host);
  }
  if (answer.contains("model") && answer["model"].is_object() && answer["model"].contains("props")) {
    add_source(host, "query-cpu-model-expansion");
    return read_model(answer["model"], host);
  }
  return {};
}

}  // namespace

tl::expected<HostView, Diagnostic> read_qemu(std::string_view text) {
  const auto pieces = read_json_stream(text);
  if (!pieces) return tl::unexpected(pieces.error());
  HostView host;
  std::string error;
  const auto read = [&](const JsonPiece& piece, const json& answer) -> tl::expected<void, Diagnostic> {
    const Step step = read_answer(answer, host, error);
    if (!step) return tl::unexpected(Diagnostic{piece.at, "in the answer that begins here: " + step.error()});
    return {};
  };
  for (const JsonPiece& piece : *pieces) {
    if (!piece.value.is_array()) {
      if (const auto done = read(piece, piece.value); !done) return tl::unexpected(done.error());
      continue;
    }
    for (const json& answer : piece.value) {
      if (const auto done = read(piece, answer); !done) return tl::unexpected(done.error());
    }
  }
  if (!host.source.empty()) return host;
  return tl::unexpected(Diagnostic{pieces->front().at,
                                   (error.empty() ? std::string("found JSON with no such answer")
                                                  : fmt::format("found QEMU's error '{}'", shown(error))) +
                                       ", expected the answer to query-sgx-capabilities or query-cpu-model-expansion"});
}

}  // namespace cloister::toolstack::hosts
