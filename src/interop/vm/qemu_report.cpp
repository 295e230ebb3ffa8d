#include "interop/vm/qemu_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "interop/vm/nodes.hpp"
#include "interop/vm/sizes.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

std::string QemuReport::name() const {
  const std::string text = shown(option_->name);
  return text.substr(1, text.size() - 2);
}

void QemuReport::fail(u32 offset, const std::string& message) {
  fail(Diagnostic{at(offset), fmt::format("'-{}': {}", name(), message)});
}

void QemuReport::wrong(u32 offset, std::string_view found, std::string_view expected) {
  fail(offset, fmt::format("found {}, expected {}", shown(found), expected));
}

void QemuReport::ignore(const QemuField& field) {
  ignore(field.offset, fmt::format("{} of '-{}' is ignored", shown(field.name), option_->name));
}

std::vector<Diagnostic> QemuReport::take_ignored() {
  std::ranges::stable_sort(ignored_, {}, [](const Diagnostic& d) { return std::pair(d.at.line, d.at.column); });
  return std::move(ignored_);
}

tl::expected<ReadVm, Diagnostic> QemuReport::whole(Vm vm) {
  if (vm.memory_kib + epc_kib(vm) > most_kib)
    fail(Diagnostic{{1, 1}, fmt::format("found more than {} KiB of RAM and EPC", most_kib)});
  if (!errors_.empty()) return tl::unexpected(errors_.front());
  return ReadVm{std::move(vm), take_ignored()};
}

}  // namespace cloister::toolstack::vm
