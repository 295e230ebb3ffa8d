// QEMU's answers to QMP commands (qapi/misc-target.json, qapi/machine-target.json), bare or as "return" of a session:
//
//     query-sgx-capabilities       {"sgx": true, "sgx1": …, "sgx2": …, "flc": …,
//                                   "sections": [{"node": 0, "size": 93954048}]}
//     query-cpu-model-expansion    {"model": {"name": "host", "props": {"sgx": true, "sgx-debug": true, …}}}
//     query-kvm                    {"enabled": true, "present": true}
//
// Other answers may stand between them. Of several that say the same, the last one counts.
#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "interop/hosts/formats.hpp"
#include "interop/hosts/json_stream.hpp"
#include "policy/flags.hpp"

namespace cloister::toolstack::hosts {

namespace {

using policy::EpcSectionView;
using policy::HostView;
using Read = tl::expected<void, std::string>;

tl::expected<EpcSectionView, std::string> read_section(const nlohmann::json& section) {
  if (!section.is_object() || !section.contains("size") || !section["size"].is_number_unsigned())
    return tl::unexpected(std::string("found a section without 'size', expected its bytes"));
  EpcSectionView view{.base = std::nullopt, .bytes = section["size"].get<u64>(), .property = 0, .node = std::nullopt};
  if (!section.contains("node")) return view;
  const nlohmann::json& node = section["node"];
  if (!node.is_number_unsigned() || node.get<u64>() > 0xffff'ffff)
    return tl::unexpected(std::string("found a section whose 'node' is no number, expected a NUMA node"));
  view.node = static_cast<u32>(node.get<u64>());
  return view;
}

Read read_sgx_info(const nlohmann::json& answer, HostView& host) {
  constexpr std::pair<const char*, const char*> members[] = {
      {"sgx", "sgx"}, {"sgx1", "sgx1"}, {"sgx2", "sgx2"}, {"flc", "sgxlc"}};
  for (const auto& [member, feature] : members) {
    if (!answer.contains(member)) continue;
    if (!answer[member].is_boolean())
      return tl::unexpected(fmt::format("found '{}' that is not true or false", member));
    host.named.learn(*policy::find_feature(feature), answer[member].get<bool>());
  }
  if (answer.contains("sections")) {
    if (!answer["sections"].is_array()) return tl::unexpected(std::string("found 'sections' that is no list"));
    std::vector<EpcSectionView> sections;
    for (const nlohmann::json& element : answer["sections"]) {
      const auto section = TRY(read_section(element));
      sections.push_back(section);
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

Read read_model(const nlohmann::json& model, HostView& host) {
  if (!model["props"].is_object()) return tl::unexpected(std::string("found 'props' that is no object"));
  for (const auto& [name, value] : model["props"].items()) {
    if (!value.is_boolean()) continue;  // numbers and words are no flags
    if (const policy::Feature* const feature = policy::find_spelling(name, policy::Tool::qemu))
      host.named.learn(*feature, value.get<bool>());
  }
  // These three are no model's name.
  const std::string name = model.value("name", nlohmann::json()).is_string() ? model["name"].get<std::string>() : "";
  if (!name.empty() && name != "base" && name != "host" && name != "max") host.model = shown(name);
  return {};
}

/// A register of features, without what QEMU leaves out of others.
Read read_word(const nlohmann::json& word, HostView& host) {
  const auto number = [&](const char* name) -> std::optional<u32> {
    const nlohmann::json value = word.value(name, nlohmann::json(0u));
    if (!value.is_number_unsigned() || value.get<u64>() > 0xffff'ffff) return std::nullopt;
    return static_cast<u32>(value.get<u64>());
  };
  constexpr std::string_view registers[] = {"EAX", "EBX", "ECX", "EDX"};
  const nlohmann::json name = word.value("cpuid-register", nlohmann::json());
  const auto* const reg =
      name.is_string() ? std::ranges::find(registers, name.get<std::string>()) : std::end(registers);
  const auto leaf = number("cpuid-input-eax"), subleaf = number("cpuid-input-ecx"), bits = number("features");
  if (reg == std::end(registers) || !leaf || !subleaf || !bits)
    return tl::unexpected(std::string("found a feature word without its register, expected EAX to EDX and numbers"));
  arch::CpuidRegs regs, known;
  arch::value_of(regs, arch::CpuidReg(reg - registers)) = *bits;
  arch::value_of(known, arch::CpuidReg(reg - registers)) = ~u32{0};
  host.named.learn(*leaf, *subleaf, regs, known);
  return {};
}

/// What is read of a text, answer by answer.
class Session {
 public:
  /// An answer, or a list of them.
  Read read(const nlohmann::json& whole) {
    if (whole.is_array()) {
      for (const nlohmann::json& answer : whole) {
        if (!answer.is_object()) continue;
        if (const Read step = read(answer); !step) return step;
      }
      return {};
    }
    if (const auto failed = whole.find("error"); failed != whole.end() && failed->is_object()) {
      const nlohmann::json text = failed->value("desc", nlohmann::json());
      read_error(text.is_string() ? text.get<std::string>() : "no reason given");
      return {};
    }
    const nlohmann::json& answer = whole.contains("return") ? whole["return"] : whole;
    return answer.is_array() ? read_words(answer) : answer.is_object() ? read_answer(answer) : Read{};
  }

  /// nullopt: nothing told of a host.
  std::optional<HostView> host() const {
    if (host_.source.empty()) return std::nullopt;
    HostView host = host_;
    // What KVM would give is of no use without the device.
    if (host.epc) host.refusal.clear();  // it could be had later
    if (!host.refusal.empty()) host.named.learn(*policy::find_feature("sgx"), false);
    return host;
  }
  const std::string& error() const { return error_; }

 private:
  void add_source(std::string_view command) {
    if (host_.source.find(command) != host_.source.npos) return;
    host_.source += std::string(host_.source.empty() ? "QEMU's " : " and ").append(command);
  }

  void read_error(const std::string& description) {
    error_ = description;
    // QEMU's words for a /dev/sgx_vepc that it cannot open, of old and of new versions.
    if (!description.starts_with("SGX is not enabled") && description.find("/dev/sgx_vepc") == description.npos) return;
    add_source("query-sgx-capabilities");
    host_.refusal = shown(description);
  }

  Read read_words(const nlohmann::json& words) {
    for (const nlohmann::json& word : words) {
      if (!word.is_object() || !word.contains("cpuid-register")) continue;
      add_source("feature-words");
      if (const Read step = read_word(word, host_); !step) return step;
    }
    return {};
  }

  Read read_answer(const nlohmann::json& answer) {
    if (answer.contains("sgx") && answer["sgx"].is_boolean()) {
      add_source("query-sgx-capabilities");
      return read_sgx_info(answer, host_);
    }
    // query-kvm.
    if (answer.contains("present") && answer.contains("enabled") && answer["enabled"].is_boolean())
      host_.without_kvm = !answer["enabled"].get<bool>();
    if (answer.contains("model") && answer["model"].is_object() && answer["model"].contains("props")) {
      add_source("query-cpu-model-expansion");
      return read_model(answer["model"], host_);
    }
    return {};
  }

  HostView host_;
  std::string error_;  ///< what QEMU said went wrong, the last time
};

}  // namespace

tl::expected<HostView, Diagnostic> read_qemu(std::string_view text) {
  const auto pieces = TRY(read_json_stream(text));
  Session session;
  for (const JsonPiece& piece : pieces) {
    const Read step = session.read(piece.value);
    if (!step) return tl::unexpected(Diagnostic{piece.at, "in the answer that begins here: " + step.error()});
  }
  if (auto host = session.host()) return std::move(*host);
  const std::string& error = session.error();
  return tl::unexpected(Diagnostic{pieces.front().at,
                                   (error.empty() ? std::string("found JSON with no such answer")
                                                  : fmt::format("found QEMU's error '{}'", shown(error))) +
                                       ", expected the answer to query-sgx-capabilities or query-cpu-model-expansion"});
}

}  // namespace cloister::toolstack::hosts
