// Features in a tool's words and back: the table's spellings, less those that came after the oldest versions that the
// renderers write for.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "policy/cpu_map.hpp"
#include "policy/flags.hpp"

namespace cloister::toolstack::vm {

/// What the renderers write is known to these and later versions; Debian 12 has them.
inline constexpr std::string_view oldest_libvirt = "libvirt 9.0", oldest_qemu = "QEMU 7.2";

/// Ten times what there are; a domain that names more is refused.
inline constexpr std::size_t most_features = 4096;

/// A CpuFeature's name for the tool's word: the first name of its bit if the table has it, in letters of any size, else
/// the word.
std::string name_of_word(std::string_view word, policy::Tool tool);

/// The tool's word for a CpuFeature's name: the spelling if the table has the feature, else the name, since it came
/// from libvirt or QEMU, which share most words. The error is why there is none: for a Loss.
/// `map`: of the libvirt that is written for; what it has is had, however late it came. Null: any from the oldest on.
tl::expected<std::string, std::string> word_of_name(const std::string& name, policy::Tool tool,
                                                    const policy::CpuMap* map = nullptr);

/// The text can stand for a feature or a model in XML and in a list with commas: letters, digits and . _ - between.
bool is_word(std::string_view text);

}  // namespace cloister::toolstack::vm
