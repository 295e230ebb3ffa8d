// QEMU's command line as options (qemu(1), "Options"), and their values as fields: names and values with commas
// between, a comma in a value doubled.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack::vm {

struct QemuOption {
  std::string name;  ///< without dashes, the long one of a pair: "machine" for -M; empty: an argument that is no option
  std::string value;     ///< empty for an option that takes none, or that ends the line without one
  u32 index = 0;         ///< of the option in argv, from 0
  bool complete = true;  ///< it has the value that it takes
};
/// An option that QEMU has and its value are one argument, "-cpu host" or "-cpu=host", of which QEMU knows nothing.
bool is_joined(std::string_view argument);
/// The word is an option that QEMU has or had, with one dash or two; a switch: without dashes, that takes no value.
bool is_qemu_option(std::string_view word);
bool is_qemu_switch(std::string_view name);
/// All options in their order, repeated ones too. argv: without the program.
std::vector<QemuOption> qemu_options(const std::vector<std::string>& argv);

struct QemuField {
  std::string name;                  ///< "sgx", "+sgx", "q35"
  std::optional<std::string> value;  ///< absent: the name alone
  u32 offset = 0;                    ///< in the option's value, bytes
};
std::vector<QemuField> qemu_fields(std::string_view value);

/// Who runs the guest. Of several -accel QEMU takes the first that it can have, as of a list "kvm:tcg"; the first
/// counts here, as hosts for SGX have it. Of what -machine says, for which -enable-kvm and (before QEMU 5) -no-kvm are
/// words too, the last counts. nullopt: nothing is said.
struct QemuAccelerator {
  std::string name;
  u32 index = 0;  ///< of the option in argv
};
std::optional<QemuAccelerator> qemu_accelerator(const std::vector<QemuOption>& options);
/// Where -machine or a word for it names an accelerator beside -accel, which QEMU refuses; `accel`: there is an -accel
/// before these options. nullopt: only one of the two does.
std::optional<u32> second_accelerator(const std::vector<QemuOption>& options, bool accel);

/// The members of a JSON object as fields, lists as several; nullopt for anything else.
std::optional<std::vector<QemuField>> qemu_json_fields(std::string_view text);

/// on, yes, true, y; off, no, false, n.
std::optional<bool> qemu_switch(std::string_view word);

/// Commas doubled.
std::string qemu_escaped(std::string_view value);

}  // namespace cloister::toolstack::vm
