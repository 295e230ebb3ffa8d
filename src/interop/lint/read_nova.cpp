// nova.conf: what Nova makes libvirt's <cpu> of.
#include <algorithm>

#include "arch/try.hpp"
#include "interop/lint/subject.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

tl::expected<Subject, Diagnostic> read_nova(std::string_view text) {
  auto nova = TRY(vm::read_nova_conf(text));
  Subject subject{.format = Format::nova};
  const vm::Cpu cpu = vm::cpu_of(nova);
  CpuChoice choice{.mode = cpu.mode, .model = cpu.model};
  if (nova.mode) choice.at = nova.mode->at;
  const bool heeded = cpu.mode != vm::CpuMode::unspecified;
  for (const vm::NovaFlag& flag : heeded ? nova.flags : std::vector<vm::NovaFlag>{})
    choice.flags.push_back(make_flag(flag.name, policy::Tool::libvirt, flag.on, flag.at));
  if (nova.virt_type && nova.virt_type->text != "kvm")
    subject.without_kvm = {nova.virt_type->at, "virt_type = " + printable(cut(nova.virt_type->text)),
                           "write virt_type = kvm"};
  for (const vm::Word& key : nova.sgx_keys) {
    const auto* const row = std::ranges::find(old_nova_words, key.text, &OldWord::written);
    if (row != std::end(old_nova_words)) subject.old_words.emplace_back(key.at, *row);
  }
  subject.cpus.push_back(std::move(choice));
  subject.nova = std::move(nova);
  return subject;
}

}  // namespace cloister::toolstack::lint
