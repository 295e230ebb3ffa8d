// Rules about the words for flags. libvirt takes those of its cpu_map, and older versions said "out of memory" of any
// other; QEMU takes names of features and properties, with '_' for '-' (target/i386/cpu.c, feat2prop).
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "interop/lint/rules.hpp"
#include "interop/vm/qemu_models.hpp"
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

std::string small(std::string_view word) {
  std::string text(word);
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return text;
}

/// Another model may be one of tomorrow's: two mistakes at most, or other letters' size.
std::optional<std::string_view> nearest_model(std::string_view model, const std::vector<std::string_view>& names) {
  constexpr std::size_t most_mistakes = 2;
  for (const std::string_view name : names)
    if (small(name) == small(model)) return name;
  const auto near = text::nearest(model, names);
  return near && text::edit_distance(model, *near) <= most_mistakes ? near : std::nullopt;
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

void unknown_model(const Case& of, const Report& report) {
  if (!of.subject.asks_for_sgx()) return;
  const bool has_models = of.map != nullptr && !of.map->models.empty();
  const auto look = [&](const std::string& model, policy::Tool tool, Position at) {
    if (model.empty()) return;
    std::vector<std::string_view> names;
    if (has_models)
      for (const policy::MapModel& one : of.map->models) names.push_back(one.name);
    // libvirt's map has all that libvirt takes; what QEMU has is known up to some version.
    const bool certain = tool == policy::Tool::libvirt && has_models;
    if (!certain) names.insert(names.end(), vm::qemu_models.begin(), vm::qemu_models.end());
    const std::string_view plain = tool == policy::Tool::qemu ? vm::without_version(model) : std::string_view(model);
    if (std::ranges::find(names, plain) != names.end()) return;
    const auto near = nearest_model(plain, names);
    // Nova takes them in letters of any size, and writes libvirt's.
    if (of.subject.format == Format::nova && near && small(*near) == small(plain)) return;
    if (!certain && !near) return;
    report(at,
           fmt::format("no CPU model is called {}{}", shown(model),
                       tool == policy::Tool::qemu ? "; QEMU does not start"
                       : certain                  ? " in this libvirt's cpu_map: the domain does not start"
                                                  : "; libvirt does not start the domain"),
           near ? fmt::format("did you mean {}?", shown(*near)) : "see `virsh cpu-models x86_64` for what there is");
  };
  for (const CpuChoice& cpu : of.subject.cpus)
    if (cpu.mode == vm::CpuMode::custom && of.subject.format != Format::nova) look(cpu.model, tool_of(cpu), cpu.at);
  if (!of.subject.nova) return;
  for (const vm::Word& model : of.subject.nova->models) look(model.text, policy::Tool::libvirt, model.at);
}

void odd_value(const Case& of, const Report& report) {
  for (const CpuChoice& cpu : of.subject.cpus)
    for (const std::string& value : cpu.odd_values)
      report(cpu.at, fmt::format("QEMU does not start: found {}, expected 'on' or 'off' as the value", shown(value)),
             "write NAME=on, NAME=off, +NAME or -NAME");
}

void repeated_flag(const Case& of, const Report& report) {
  if (of.subject.format != Format::libvirt) return;
  for (const CpuChoice& cpu : of.subject.cpus) {
    std::set<std::string_view> seen;
    for (const Flag& flag : cpu.flags)
      if (!cpu.option && !seen.insert(flag.word).second)
        report(flag.at, fmt::format("libvirt refuses the domain: {} is there twice", shown(flag.word)),
               "keep the one that is meant");
  }
}

void unknown_flag(const Case& of, const Report& report) {
  // A search among all words for each of thousands would be for nobody.
  constexpr std::size_t most_searched = 256;
  std::size_t searched = 0;
  for_each_flag(of, [&](const Flag& flag, policy::Tool tool) {
    if (flag.feature != nullptr || is_in_map(flag, of.map)) return;
    if (tool == policy::Tool::libvirt && is_libvirts(flag)) return;
    // Names have small letters in both.
    const std::string word = small(flag.word);
    const auto near = searched++ < most_searched ? text::nearest(word, words_of(tool, of.map)) : std::nullopt;
    if (tool == policy::Tool::qemu) {
      // -cpu has properties that are no features; only what was meant for SGX can be judged.
      const bool meant_for_sgx = word.starts_with("sgx") ||
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
