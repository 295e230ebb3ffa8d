// What a reader of QEMU's command line says of an option's value: errors, and what is ignored. A position is
// the argument's number as the line, counted from 1 without the program, and the place in its value as the column.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "interop/vm/qemu_options.hpp"
#include "interop/vm/vm.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::vm {

class QemuReport {
 public:
  /// What is said from now on is of this option, which must stay.
  void look_at(const QemuOption& option) { option_ = &option; }
  const QemuOption& option() const { return *option_; }
  std::vector<QemuField> fields() const { return qemu_fields(option_->value); }

  Position at(u32 offset) const { return {.line = option_->index + 1, .column = offset + 1}; }
  void fail(u32 offset, const std::string& message);
  void fail(Diagnostic diagnostic) { errors_.push_back(std::move(diagnostic)); }
  void wrong(u32 offset, std::string_view found, std::string_view expected);
  /// In the order in which they were found; to a reader that makes a whole of a command, the first counts.
  const std::vector<Diagnostic>& errors() const { return errors_; }

  void ignore(u32 offset, const std::string& message) { ignore(Diagnostic{at(offset), message}); }
  void ignore(const QemuField& field);
  void ignore(Diagnostic diagnostic) { ignored_.push_back(std::move(diagnostic)); }
  /// In the order of their places.
  std::vector<Diagnostic> take_ignored();
  /// What was read of all options, if nothing was wrong with them, and it has no more memory than can be counted.
  tl::expected<ReadVm, Diagnostic> whole(Vm vm);

  /// The option's name in a message.
  std::string name() const;

 private:
  const QemuOption* option_ = nullptr;
  std::vector<Diagnostic> errors_;
  std::vector<Diagnostic> ignored_;
};

/// The value of a field with a name, or of a first one that goes without.
inline std::string value_of(const QemuField& field) { return field.value.value_or(field.name); }
inline bool is_field(const QemuField& field, std::string_view name) {
  return field.value ? field.name == name : field.offset == 0;
}

}  // namespace cloister::toolstack::vm
