// The command line of `cloister cpu`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "interop/cpu/cpu.hpp"
#include "silicon/backend.hpp"

namespace cloister::tools {

using namespace cloister::toolstack;

/// What the verbs of `cloister cpu` are given.
struct CpuArguments {
  std::string host, policy, what, file, folder;
  std::vector<std::string> hosts;
  cpu::RenderArguments render;
  bool json = false, all = false;
};

/// The verbs of `cloister cpu`; `chosen` is what to run.
inline void add_cpu(CLI::App& app, CpuArguments& a, std::function<int()>& chosen) {
  CLI::App* group = app.add_subcommand("cpu", "CPU policies by name, for this host and others; needs no daemon");
  group->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, std::function<int()> verb, bool json = true) {
    CLI::App* command = group->add_subcommand(name, help);
    if (json) command->add_flag("--json", a.json, "print JSON");
    command->callback([&chosen, verb = std::move(verb)] { chosen = verb; });
    return command;
  };
  add("probe", "Show what a host has for SGX, and why not more", [&a] {
    return cpu::probe(a.host, a.json);
  })->add_option("FILE", a.host, "what was read on another host: a CPUID dump, libvirt's or QEMU's capabilities");
  add("explain", "Explain a CPU flag", [&a] { return cpu::explain(a.what, a.json); })
      ->add_option("NAME|BIT", a.what, "a flag in any tool's spelling, or a bit such as 7.0.ebx[2]")
      ->required();
  auto* check = add("check", "Show which flags of a policy a host lacks",
                    [&a] { return cpu::check(a.host, a.policy, a.json, a.folder, silicon::backend()); });
  check->add_option("HOST", a.host, "a file as for probe, or 'host' for this one")->required();
  check->add_option("POLICY", a.policy, "flags with commas between them, or a file that asks for some")->required();
  auto* baseline = add("baseline", "Find what all hosts of a pool can run",
                       [&a] { return cpu::baseline(a.hosts, a.json, a.all, a.folder); });
  baseline->add_option("HOST", a.hosts, "files as for probe, or 'host' for this one")->required();
  baseline->add_flag("--all", a.all, "show each host and flag for itself, however many there are");
  auto* map = add("map", "Compare libvirt's map of CPU flags with ours", [&a] { return cpu::map(a.folder, a.json); });
  auto* render = add(
      "render", "Write a domain as another tool wants it", [&a] { return cpu::render(a.render, silicon::backend()); },
      false);
  render->add_option("--for", a.render.target, "libvirt, qemu, nova, xl or cloister")
      ->required()
      ->check(CLI::IsMember({"libvirt", "qemu", "nova", "xl", "cloister"}));
  render->add_option("FILE", a.render.file, "an xl-style configuration, libvirt's domain XML, or QEMU's command line")
      ->required();
  render->add_flag("--lossy", a.render.lossy, "leave out what the target cannot say, and list it");
  auto* lint = add("lint", "Look for mistakes with SGX in a domain's settings",
                   [&a] { return cpu::lint(a.file, a.host, a.json, a.folder); });
  lint->add_option("FILE", a.file, "libvirt's domain XML, nova.conf, or QEMU's command line")->required();
  lint->add_option("--host", a.host, "the host that it is for: a file as for probe, or 'host'")->type_name("HOST");
  for (CLI::App* verb : {check, baseline, map, lint})
    verb->add_option("--libvirt", a.folder, "libvirt's cpu_map: a folder, or a file of features")->type_name("PATH");
  render->add_option("--libvirt", a.render.libvirt, "the cpu_map of the libvirt that it is for")->type_name("PATH");
}

}  // namespace cloister::tools
