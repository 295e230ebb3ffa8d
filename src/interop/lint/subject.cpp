#include "interop/lint/subject.hpp"

#include <algorithm>

#include "arch/try.hpp"
#include "interop/vm/kinds.hpp"
#include "text/control.hpp"

namespace cloister::toolstack::lint {

std::string_view name_of(Format format) {
  constexpr std::string_view names[] = {"libvirt's domain XML", "nova.conf", "QEMU's command line"};
  return names[static_cast<std::size_t>(format)];
}

const Flag* CpuChoice::find(std::string_view feature) const {
  const auto found = std::find_if(flags.rbegin(), flags.rend(), [&](const Flag& flag) {
    return flag.feature != nullptr && flag.feature->name == feature;
  });
  return found == flags.rend() ? nullptr : &*found;
}

bool CpuChoice::has_on(std::string_view feature) const {
  const Flag* flag = find(feature);
  return flag != nullptr && flag->on;
}

bool CpuChoice::from_host() const {
  return mode == vm::CpuMode::host_model || mode == vm::CpuMode::host_passthrough || mode == vm::CpuMode::maximum;
}

bool CpuChoice::has_sgx() const {
  const Flag* sgx = find("sgx");
  return sgx == nullptr ? from_host() : sgx->on;
}

Flag make_flag(std::string word, policy::Tool tool, bool on, Position at) {
  Flag flag{.word = std::move(word), .on = on, .at = at};
  flag.feature = policy::find_spelling(flag.word, tool);
  return flag;
}

namespace {

/// The first line that is neither blank nor a comment opens a section.
bool begins_with_section(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos || line[first] == '#' || line[first] == ';') continue;
    return line[first] == '[';
  }
  return false;
}

}  // namespace

bool Subject::asks_for_sgx() const {
  const auto is_sgx = [](const Flag& flag) {
    return flag.word.starts_with("sgx") || flag.word.starts_with("SGX") ||
           (flag.feature != nullptr && flag.feature->name.starts_with("sgx"));
  };
  const auto asks = [&](const CpuChoice& cpu) {
    const auto meant = [](const std::string& odd) { return odd.find("sgx") < 2; };  // "sgx=maybe", "+sgx=on"
    return std::ranges::any_of(cpu.flags, is_sgx) || std::ranges::any_of(cpu.odd_values, meant);
  };
  return !epc.empty() || !old_options.empty() || !old_words.empty() || !refused.empty() || !joined.empty() ||
         std::ranges::any_of(cpus, asks);
}

tl::expected<Subject, Diagnostic> read_subject(std::string_view bytes) {
  const std::string_view text = TRY(vm::readable(bytes));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos)
    return tl::unexpected(Diagnostic{{},
                                     "found nothing, expected libvirt's domain XML, nova.conf "
                                     "or QEMU's command line"});
  const bool xml = text[first] == '<';
  if (!xml && !begins_with_section(text)) return read_qemu(text);
  if (!xml && !vm::has_section(text, "libvirt"))
    return tl::unexpected(Diagnostic{
        {},
        "found a file of sections without [libvirt], expected nova.conf, libvirt's domain XML or QEMU's command line"});
  if (auto control = find_control(text, xml ? "libvirt's domain XML" : "nova.conf"))
    return tl::unexpected(std::move(*control));
  return xml ? read_libvirt(text) : read_nova(text);
}

}  // namespace cloister::toolstack::lint
