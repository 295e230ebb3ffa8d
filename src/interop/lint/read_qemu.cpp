// QEMU's command line: -cpu (target/i386/cpu.c, x86_cpu_parse_featurestr), -object memory-backend-epc in both of its
// forms, and -M sgx-epc.N (docs/system/i386/sgx.rst). What else it says is nothing to this lint.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "arch/try.hpp"
#include "interop/lint/subject.hpp"
#include "interop/vm/among.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/qemu_cpu.hpp"
#include "interop/vm/qemu_memory.hpp"
#include "interop/vm/qemu_options.hpp"
#include "interop/vm/sizes.hpp"
#include "text/bounded_json.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

namespace {

using vm::Word;

using Properties = std::map<std::string, std::string, std::less<>>;

/// "TYPE,id=ID,size=64M,prealloc=on", or the same as JSON with its type as "qom-type". Of JSON's values that are no
/// texts, what they are written as.
Properties properties_of(std::string_view text, const char* first) {
  Properties properties;
  if (text.starts_with('{')) {
    const auto json = parse_json(text);
    if (!json || !json->is_object()) return properties;
    for (const auto& [key, value] : json->items())
      properties[key] = value.is_string() ? value.get<std::string>() : json_text(value);
    return properties;
  }
  bool is_first = true;
  for (const vm::QemuField& field : vm::qemu_fields(text)) {
    if (field.value) {
      properties[field.name] = *field.value;
    } else {
      properties[is_first ? first : field.name] = is_first ? field.name : "on";
    }
    is_first = false;
  }
  return properties;
}

CpuChoice read_cpu(const Word& argument) {
  CpuChoice choice{.at = argument.at, .option = true};
  std::vector<vm::QemuField> fields = vm::qemu_fields(argument.text);
  // "+sgx" alone: the model was forgotten.
  choice.model =
      fields.front().name.starts_with('+') || fields.front().name.starts_with('-') ? "" : fields.front().name;
  choice.mode = choice.model == "host"  ? vm::CpuMode::host_passthrough
                : choice.model == "max" ? vm::CpuMode::maximum
                                        : vm::CpuMode::custom;
  if (!choice.model.empty()) fields.erase(fields.begin());
  for (const vm::QemuField& field : fields) {
    if (vm::is_odd_switch(field)) choice.odd_values.push_back(field.name + "=" + *field.value);
    const bool sign = field.name.starts_with('+') || field.name.starts_with('-');
    const auto on = sign ? std::optional(field.name.front() == '+') : vm::qemu_switch(field.value.value_or("on"));
    const std::string word = field.name.substr(sign ? 1 : 0);
    if (on && !word.empty()) choice.flags.push_back(make_flag(word, policy::Tool::qemu, *on, argument.at));
  }
  return choice;
}

/// Which backends there are, and what -M says of them.
struct EpcOptions {
  struct Backend {
    Word id;
    EpcSection section;
  };
  std::vector<Backend> backends;
  struct Attached {
    Word memdev;
    bool on_node = false;
  };
  std::map<std::string, Attached> attached;  ///< by N of sgx-epc.N
  Word machine;                              ///< the last type

  void read_object(const Word& argument) {
    const Properties properties = properties_of(argument.text, "qom-type");
    const auto value = [&](std::string_view key) {
      const auto found = properties.find(key);
      return found == properties.end() ? std::string() : found->second;
    };
    if (value("qom-type") != "memory-backend-epc") return;
    const bool bound = std::ranges::any_of(properties, [](const auto& p) { return p.first.starts_with("host-nodes"); });
    backends.push_back({{value("id"), argument.at},
                        {.at = argument.at,
                         .kib = vm::read_qemu_size(value("size"), 1).value_or(0),
                         .prealloc = vm::qemu_switch(value("prealloc")).value_or(false),
                         .on_host_nodes = bound && value("policy") != "default"}});
  }

  void read_machine(const Word& argument) {
    constexpr std::string_view prefix = "sgx-epc.";
    for (const auto& [key, value] : properties_of(argument.text, "type")) {
      if (key == "type") machine = {value, argument.at};
      const std::size_t dot = key.find('.', prefix.size());
      if (!key.starts_with(prefix) || dot == key.npos) continue;
      Attached& section = attached[key.substr(prefix.size(), dot - prefix.size())];
      if (key.substr(dot) == ".memdev") section.memdev = {value, argument.at};
      if (key.substr(dot) == ".node") section.on_node = true;
    }
  }

  void add_to(Subject& subject) const {
    std::map<std::string_view, const Attached*> by_backend;
    for (const auto& [number, other] : attached) by_backend[other.memdev.text] = &other;
    for (const Backend& backend : backends) {
      EpcSection section = backend.section;
      const auto found = by_backend.find(backend.id.text);
      section.attached = found != by_backend.end();
      section.past_libvirt = subject.format == Format::libvirt;
      section.on_guest_node = section.attached && found->second->on_node;
      if (!section.attached) subject.unattached.push_back(backend.id);
      subject.epc.push_back(section);
    }
    if (vm::has_no_epc(machine.text) && !backends.empty()) subject.without_epc = machine;
  }
};

/// "-cpu host,+sgx" as one argument, of what counts here.
bool is_joined(std::string_view argument) {
  constexpr std::string_view counted[] = {"cpu", "object", "machine", "M", "accel", "sgx-epc", "numa"};
  const std::string_view option = argument.substr(0, argument.find_first_of(" \t\n="));
  return vm::is_joined(argument) && vm::among(option.substr(option.starts_with("--") ? 2 : 1), counted);
}

/// What the reader that makes a whole of a command refuses of EPC and nodes. `before`: of the same machine, libvirt's.
std::vector<Refused> refused_memory(const std::vector<vm::QemuOption>& options, const std::vector<Word>& arguments,
                                    const Subject& before) {
  vm::QemuReport report;
  const bool described = before.format == Format::libvirt;
  vm::QemuMemory memory(report, static_cast<u32>(before.epc.size()), described && before.room && before.room->cells);
  bool asks = false;
  for (const vm::QemuOption& option : options) {
    report.look_at(option);
    if (!option.complete) continue;
    if (option.name == "object" && option.value.find("memory-backend-") != option.value.npos) memory.object();
    asks |= option.name == "object" && option.value.find("memory-backend-epc") != option.value.npos;
    if (option.name == "numa") memory.numa();
    if (option.name != "machine") continue;
    for (const vm::QemuField& field : report.fields()) {
      if (!field.name.starts_with("sgx-epc.")) continue;
      asks = true;
      memory.section(field);
    }
  }
  if (!asks) return {};
  vm::Vm vm;
  memory.settle(vm);
  std::vector<Refused> refused;
  for (const Diagnostic& error : report.errors()) {
    const std::size_t value = std::min<std::size_t>(error.at.line, arguments.size() - 1);
    const char* const comes =
        error.message.ends_with(vm::whole_pages) ? "the guest does not get it whole: " : "QEMU does not start: ";
    refused.push_back({arguments[value].at, comes + error.message,
                       "give -M sgx-epc.N.memdev and .node for N from 0 on without a gap, each with a "
                       "memory-backend-epc of its own, such as id=epc0,size=64M,prealloc=on, and a node that -numa "
                       "makes, or 0"});
  }
  return refused;
}

/// `whole`: of a program that has no accelerator of its own.
void look_for_kvm(Subject& subject, const std::vector<Word>& arguments, bool whole) {
  constexpr const char* mend = "add -accel kvm in its place, first of all -accel";
  std::vector<std::string> argv;
  for (const Word& argument : arguments) argv.push_back(argument.text);
  const auto accelerator = vm::qemu_accelerator(vm::qemu_options(argv));
  if (accelerator && accelerator->name != "kvm")
    subject.without_kvm = {arguments[accelerator->index].at, "the accelerator " + shown(accelerator->name), mend};
  // Without one, QEMU takes its interpreter; of a part of a command line nobody knows.
  if (!accelerator && whole) subject.without_kvm = {{}, "no accelerator", "add -accel kvm"};
}

}  // namespace

void add_arguments(Subject& subject, const std::vector<Word>& arguments) {
  std::vector<std::string> argv;
  for (const Word& argument : arguments) argv.push_back(argument.text);
  const std::vector<vm::QemuOption> options = vm::qemu_options(argv);
  for (Refused& refused : refused_memory(options, arguments, subject)) subject.refused.push_back(std::move(refused));
  // libvirt passes an -accel of its own.
  if (const auto second = vm::second_accelerator(options, subject.format == Format::libvirt))
    subject.second_accelerator = arguments[*second].at;
  EpcOptions epc;
  std::size_t nodes = 0;
  for (const vm::QemuOption& option : options) {
    if (is_joined(arguments[option.index].text)) subject.joined.push_back(arguments[option.index]);
    if (option.name == "sgx-epc") subject.old_options.push_back(arguments[option.index].at);
    if (option.name == "sgx") subject.old_words.emplace_back(arguments[option.index].at, old_sgx_option);
    if (!option.complete || option.index + 1 >= arguments.size()) continue;
    const Word& value = arguments[option.index + 1];
    if (option.name == "cpu") subject.cpus.push_back(read_cpu(value));
    if (option.name == "object") epc.read_object(value);
    if (option.name == "machine") {
      epc.read_machine(value);
      if (properties_of(value.text, "type").contains("epc")) subject.old_words.emplace_back(value.at, old_machine_epc);
    }
    if (option.name == "numa" && value.text.starts_with("node")) ++nodes;
  }
  // A class's properties are said before -cpu's own words, wherever they stand.
  if (!subject.cpus.empty() && subject.cpus.back().option) {
    CpuChoice& cpu = subject.cpus.back();
    std::vector<Flag> globals;
    for (const vm::QemuOption& option : options) {
      if (option.name != "global" || option.index + 1 >= arguments.size()) continue;
      const auto read = vm::read_cpu_global(option.value);
      if (read && (read->model.empty() || read->model == cpu.model))
        globals.push_back(make_flag(read->word, policy::Tool::qemu, read->on, arguments[option.index + 1].at));
    }
    cpu.flags.insert(cpu.flags.begin(), globals.begin(), globals.end());
  }
  epc.add_to(subject);
  subject.guest_numa = subject.guest_numa || nodes > 1;
}

tl::expected<Subject, Diagnostic> read_qemu(std::string_view text) {
  const auto argv = TRY(vm::read_argv(text));
  // A listing of arguments may lack the program.
  if (vm::cloud_hypervisor_of(argv))
    return tl::unexpected(Diagnostic{{1, 1},
                                     "found Cloud Hypervisor's command line, expected QEMU's, libvirt's domain XML or "
                                     "nova.conf; 'cloister cpu render' writes it in their words"});
  const auto program = vm::qemu_of(argv);
  if (!program && !vm::is_qemu_option(argv.front()))
    return tl::unexpected(
        Diagnostic{{},
                   "found no program of QEMU's and no option; expected libvirt's domain XML, nova.conf "
                   "or QEMU's command line"});
  if (program) {
    if (auto other = vm::of_other_architecture(argv[*program])) return tl::unexpected(std::move(*other));
  }
  Subject subject{.format = Format::qemu};
  const auto first = static_cast<u32>(program ? *program + 1 : 0);
  if (auto variable = vm::not_of_command({argv.begin() + first, argv.end()})) {
    // Places in a command are numbers of its arguments.
    variable->message = fmt::format("argument {}: {}", variable->at.line, variable->message);
    variable->at = {};
    return tl::unexpected(std::move(*variable));
  }
  std::vector<Word> arguments;
  for (u32 i = first; i < argv.size(); ++i) arguments.push_back({argv[i], {.line = i + 1 - first, .column = 0}});
  add_arguments(subject, arguments);
  look_for_kvm(subject, arguments, program && !vm::brings_kvm(argv[*program]));
  subject.arguments = std::move(arguments);
  subject.note = vm::earlier_starts(text);
  return subject;
}

}  // namespace cloister::toolstack::lint
