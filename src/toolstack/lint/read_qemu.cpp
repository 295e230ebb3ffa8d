// QEMU's command line: -cpu (target/i386/cpu.c, x86_cpu_parse_featurestr), -object memory-backend-epc in both of its
// forms, and -M sgx-epc.N (docs/system/i386/sgx.rst). What else it says is nothing to this lint.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "toolstack/lint/subject.hpp"
#include "toolstack/vm/formats.hpp"

namespace cloister::toolstack::lint {

namespace {

using vm::Word;

/// Items between commas; two commas are one that is part of an item.
std::vector<std::string> items_of(std::string_view text) {
  std::vector<std::string> items(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      items.back() += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == ',') {
      items.back() += ',';
      ++i;
    } else {
      items.emplace_back();
    }
  }
  return items;
}

using Properties = std::map<std::string, std::string, std::less<>>;

/// "TYPE,id=ID,size=64M,prealloc=on", or the same as JSON with its type as "qom-type". Of JSON's values that are no
/// texts, what they are written as.
Properties properties_of(std::string_view text, const char* first) {
  Properties properties;
  if (text.starts_with('{')) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return properties;
    for (const auto& [key, value] : json.items())
      properties[key] = value.is_string() ? value.get<std::string>()
                                          : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return properties;
  }
  bool is_first = true;
  for (const std::string& item : items_of(text)) {
    const std::size_t equals = item.find('=');
    if (equals != item.npos) {
      properties[item.substr(0, equals)] = item.substr(equals + 1);
    } else if (!item.empty()) {
      properties.insert_or_assign(is_first ? first : item, is_first ? item : "on");
    }
    is_first = false;
  }
  return properties;
}

std::optional<bool> truth_of(std::string_view value) {
  constexpr std::string_view on[] = {"on", "yes", "true", "y"}, off[] = {"off", "no", "false", "n"};
  if (std::ranges::find(on, value) != std::end(on)) return true;
  if (std::ranges::find(off, value) != std::end(off)) return false;
  return std::nullopt;
}

CpuChoice read_cpu(const Word& argument) {
  CpuChoice choice{.at = argument.at, .option = true};
  std::vector<std::string> items = items_of(argument.text);
  choice.model = items.front();
  choice.mode = choice.model == "host"  ? vm::CpuMode::host_passthrough
                : choice.model == "max" ? vm::CpuMode::maximum
                                        : vm::CpuMode::custom;
  items.erase(items.begin());
  for (const std::string& item : items) {
    const std::size_t equals = item.find('=');
    const bool sign = item.starts_with('+') || item.starts_with('-');
    const auto on = sign                  ? std::optional(item.front() == '+')
                    : equals == item.npos ? std::optional(true)
                                          : truth_of(item.substr(equals + 1));
    const std::string word = sign ? item.substr(1) : item.substr(0, equals);
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
                         .prealloc = truth_of(value("prealloc")).value_or(false),
                         .on_host_nodes = bound && value("policy") != "default"}});
  }

  void read_machine(const Word& argument) {
    constexpr std::string_view prefix = "sgx-epc.";
    for (const auto& [key, value] : properties_of(argument.text, "type")) {
      const std::size_t dot = key.find('.', prefix.size());
      if (!key.starts_with(prefix) || dot == key.npos) continue;
      Attached& section = attached[key.substr(prefix.size(), dot - prefix.size())];
      if (key.substr(dot) == ".memdev") section.memdev = {value, argument.at};
      if (key.substr(dot) == ".node") section.on_node = true;
    }
  }

  void add_to(Subject& subject) const {
    for (const Backend& backend : backends) {
      EpcSection section = backend.section;
      section.attached = false;
      for (const auto& [number, other] : attached) {
        if (other.memdev.text != backend.id.text) continue;
        section.attached = true;
        section.on_guest_node = other.on_node;
      }
      if (!section.attached) subject.unattached.push_back(backend.id);
      subject.epc.push_back(section);
    }
    for (const auto& [number, section] : attached) {
      const std::string& id = section.memdev.text;
      const auto has_id = [&id](const Backend& backend) { return backend.id.text == id; };
      if (!id.empty() && std::ranges::none_of(backends, has_id)) subject.without_backend.push_back(section.memdev);
    }
  }
};

}  // namespace

void add_arguments(Subject& subject, const std::vector<Word>& arguments) {
  EpcOptions epc;
  std::size_t nodes = 0;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string_view option = arguments[i].text;
    if (!option.starts_with('-')) continue;
    option.remove_prefix(option.starts_with("--") ? 2 : 1);
    if (option == "sgx-epc") subject.old_options.push_back(arguments[i].at);
    if (i + 1 == arguments.size()) break;
    const Word& value = arguments[i + 1];
    if (option == "cpu") subject.cpus.push_back(read_cpu(value));
    if (option == "object") epc.read_object(value);
    if (option == "M" || option == "machine") epc.read_machine(value);
    if (option == "numa" && value.text.starts_with("node")) ++nodes;
  }
  epc.add_to(subject);
  subject.guest_numa = subject.guest_numa || nodes > 1;
}

tl::expected<Subject, Diagnostic> read_qemu(std::string_view text) {
  const auto argv = vm::read_argv(text);
  if (!argv) return tl::unexpected(argv.error());
  if (std::ranges::none_of(*argv, [](const std::string& argument) { return argument.starts_with('-'); }))
    return tl::unexpected(Diagnostic{{},
                                     "found no option of QEMU; expected libvirt's domain XML, nova.conf or QEMU's "
                                     "command line"});
  Subject subject{.format = Format::qemu};
  std::vector<Word> arguments;
  for (u32 i = 0; i < argv->size(); ++i) arguments.push_back({(*argv)[i], {.line = i, .column = 0}});
  add_arguments(subject, arguments);
  return subject;
}

}  // namespace cloister::toolstack::lint
