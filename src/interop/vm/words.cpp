#include "interop/vm/words.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cloister::toolstack::vm {

namespace {

using policy::Tool;

/// Words that came later: libvirt's in its NEWS and src/cpu_map, QEMU's in target/i386/cpu.c.
struct LaterWord {
  std::string_view name;
  Tool tool;
};
constexpr LaterWord later_words[] = {
    {"sgx-edeccssa", Tool::libvirt},
    {"sgx-aex-notify", Tool::libvirt},
    {"sgx-edeccssa", Tool::qemu},
    {"sgx-aex-notify", Tool::qemu},
};

}  // namespace

std::string name_of_word(std::string_view word, Tool tool) {
  if (const policy::Feature* const feature = policy::find_spelling(word, tool)) return std::string(feature->name);
  // As another tool's word, one in capitals, which neither libvirt nor QEMU takes, is known for what is meant.
  std::string small(word);
  std::ranges::transform(small, small.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  const policy::Feature* const feature = policy::find_spelling(small, tool);
  return std::string(feature == nullptr ? word : feature->name);
}

tl::expected<std::string, std::string> word_of_name(const std::string& name, Tool tool, const policy::CpuMap* map) {
  if (!is_word(name)) return tl::unexpected<std::string>("it is no name of a CPU feature");
  const policy::Feature* const feature = policy::find_feature(name);
  if (feature == nullptr) return name;
  const std::string_view word = policy::spelling(*feature, tool);
  const bool later = std::ranges::any_of(
      later_words, [&](const LaterWord& later_word) { return later_word.name == name && later_word.tool == tool; });
  const bool in_map = tool == Tool::libvirt && map != nullptr && map->find_feature(word) != nullptr;
  if (!word.empty() && (!later || in_map)) return std::string(word);
  const std::string_view speaker = tool == Tool::libvirt ? oldest_libvirt
                                   : tool == Tool::qemu  ? oldest_qemu
                                                         : policy::name_of(tool);
  return tl::unexpected(fmt::format("{} has no word for it", speaker));
}

bool is_word(std::string_view text) {
  constexpr std::string_view between = "._-";
  return !text.empty() && between.find(text.front()) == between.npos && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           between.find(c) != between.npos;
  });
}

}  // namespace cloister::toolstack::vm
