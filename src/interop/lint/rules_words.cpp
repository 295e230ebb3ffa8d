// Rules about the words for flags. libvirt takes those of its cpu_map, and older versions said "out of memory" of any
// other; QEMU takes names of features and properties, with '_' for '-' (target/i386/cpu.c, feat2prop).
#include <fmt/format.h>

#include <algorithm>

#include "interop/lint/rules.hpp"
#include "policy/libvirt_features.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

namespace {

std::string with_hyphens(std::string word) {
  std::ranges::replace(word, '_', '-');
  return word;
}

/// libvirt's words: its own map's if it is installed, else ours.
std::vector<std::string_view> words_of(policy::Tool tool, const policy::CpuMap* map) {
  std::vector<std::string_view> words;
  if (tool == policy::Tool::libvirt && map != nullptr) {
    for (const policy::MapFeature& feature : map->features) words.push_back(feature.name);
    return words;
  }
  if (tool == policy::Tool::libvirt)
    for (const policy::MapFeature& feature : policy::more_of_libvirts_features().features)
      words.push_back(feature.name);
  for (const policy::Feature& feature : policy::features())
    if (const std::string_view word = policy::spelling(feature, tool); !word.empty()) words.push_back(word);
  return words;
}

policy::Tool tool_of(const CpuChoice& cpu) { return cpu.option ? policy::Tool::qemu : policy::Tool::libvirt; }

std::string_view place_of_words(policy::Tool tool) {
  return tool == policy::Tool::qemu ? "qemu-system-x86_64 -cpu help" : "libvirt's cpu_map";
}

void for_each_flag(const Case& of, const std::function<void(const Flag&, policy::Tool)>& look) {
  for (const CpuChoice& cpu : of.subject.cpus)
    for (const Flag& flag : cpu.flags) look(flag, tool_of(cpu));
}

/// libvirt has the word, in its newest map if not in this host's.
bool is_libvirts(const Flag& flag) {
  return policy::more_of_libvirts_features().find_feature(flag.word) != nullptr ||
         (flag.feature != nullptr && policy::spelling(*flag.feature, policy::Tool::libvirt) == flag.word);
}

bool is_in_map(const Flag& flag, const policy::CpuMap* map) {
  return map != nullptr && map->find_feature(flag.word) != nullptr;
}

}  // namespace

void unknown_flag(const Case& of, const Report& report) {
  // A search among all words for each of thousands would be for nobody.
  constexpr std::size_t most_searched = 256;
  std::size_t searched = 0;
  for_each_flag(of, [&](const Flag& flag, policy::Tool tool) {
    if (flag.feature != nullptr || is_in_map(flag, of.map)) return;
    if (tool == policy::Tool::libvirt && is_libvirts(flag)) return;
    const auto near = searched++ < most_searched ? text::nearest(flag.word, words_of(tool, of.map)) : std::nullopt;
    if (tool == policy::Tool::qemu) {
      // -cpu has properties that are no features; only what was meant for SGX can be judged.
      const bool meant_for_sgx = flag.word.starts_with("sgx") ||
                                 (near && policy::find_spelling(*near, tool) != nullptr && near->starts_with("sgx"));
      if (!meant_for_sgx) return;
    }
    report(flag.at,
           fmt::format("no flag is called {}{}", shown(flag.word),
                       tool == policy::Tool::qemu ? "; QEMU does not start"
                       : of.map == nullptr        ? " in libvirt up to 11, which refuses the domain"
                                           : "; libvirt refuses the domain, in older versions with the words 'out of "
                                             "memory'"),
           near ? fmt::format("did you mean {}?", shown(*near))
                : fmt::format("take it out, or see {} for what there is", place_of_words(tool)));
  });
}

void foreign_word(const Case& of, const Report& report) {
  for_each_flag(of, [&](const Flag& flag, policy::Tool tool) {
    if (flag.feature == nullptr || policy::find_sgx_flag(flag.feature->name) == nullptr) return;
    if (tool == policy::Tool::libvirt && is_in_map(flag, of.map)) return;
    const std::string_view word = policy::spelling(*flag.feature, tool);
    if (word == (tool == policy::Tool::qemu ? with_hyphens(flag.word) : flag.word)) return;
    report(flag.at,
           fmt::format("{} has no flag {}{}", policy::name_of(tool), shown(flag.word),
                       word.empty() ? ", and no word for it" : ""),
           word.empty() ? "take it out" : fmt::format("it is called {} there", shown(word)));
  });
}

void flag_not_in_map(const Case& of, const Report& report) {
  if (of.map == nullptr) return;
  for_each_flag(of, [&](const Flag& flag, policy::Tool tool) {
    if (tool != policy::Tool::libvirt || !is_libvirts(flag) || is_in_map(flag, of.map)) return;
    report(flag.at,
           fmt::format("this host's libvirt has no {} in its cpu_map, and refuses the domain", shown(flag.word)),
           "take it out, or add what `cloister cpu map` prints to the map");
  });
}

}  // namespace cloister::toolstack::lint
