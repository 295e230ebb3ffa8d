// Rules about nova.conf (nova/conf/libvirt.py; what Nova refuses at its start: _check_cpu_compatibility in
// nova/virt/libvirt/driver.py).
#include <fmt/format.h>

#include <algorithm>

#include "interop/lint/rules.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

namespace {

bool has_mode(const vm::NovaCpu& nova, std::string_view mode) { return nova.mode && nova.mode->text == mode; }

/// Without a mode, Nova takes the host's model with these and none with others.
bool libvirt_chooses(const vm::NovaCpu& nova) {
  return !nova.virt_type || nova.virt_type->text == "kvm" || nova.virt_type->text == "qemu";
}

}  // namespace

void old_cpu_model(const Case& of, const Report& report) {
  if (!of.subject.nova || !of.subject.nova->old_models) return;
  report(*of.subject.nova->old_models, "cpu_model is the name that cpu_models had before Nova 20 (Train)",
         "write cpu_models, which takes a list");
}

void unknown_cpu_mode(const Case& of, const Report& report) {
  constexpr std::string_view modes[] = {"custom", "host-model", "host-passthrough", "none"};
  if (!of.subject.nova || !of.subject.nova->mode) return;
  const vm::Word& mode = *of.subject.nova->mode;
  if (std::ranges::find(modes, mode.text) != std::end(modes)) return;
  report(mode.at, fmt::format("cpu_mode is {}, and Nova does not start", shown(mode.text)),
         "write custom, host-model, host-passthrough or none");
}

void models_without_custom(const Case& of, const Report& report) {
  if (!of.subject.nova || of.subject.nova->models.empty() || has_mode(*of.subject.nova, "custom")) return;
  report(of.subject.nova->models.front().at, "cpu_models without cpu_mode = custom: Nova does not start",
         "add cpu_mode = custom, or take the models out");
}

void custom_without_model(const Case& of, const Report& report) {
  if (!of.subject.nova || !of.subject.nova->models.empty() || !has_mode(*of.subject.nova, "custom")) return;
  report(of.subject.nova->mode->at, "cpu_mode = custom without cpu_models: Nova does not start",
         "add cpu_models with a model of virsh cpu-models x86_64");
}

void ignored_flags(const Case& of, const Report& report) {
  if (!of.subject.nova || of.subject.nova->flags.empty()) return;
  const vm::NovaCpu& nova = *of.subject.nova;
  if (!has_mode(nova, "none") && (nova.mode || libvirt_chooses(nova))) return;
  report(nova.flags.front().at,
         "cpu_model_extra_flags has no effect: with cpu_mode = none Nova gives its guests no CPU",
         "add cpu_mode = custom with cpu_models, host-model or host-passthrough");
}

}  // namespace cloister::toolstack::lint
