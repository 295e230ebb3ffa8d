#include "interop/vm/kinds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "arch/try.hpp"
#include "interop/vm/among.hpp"
#include "interop/vm/libvirt_log.hpp"
#include "interop/vm/qemu_options.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

/// A file of another tool, by how one of its lines begins.
struct Foreign {
  std::string_view line;
  std::string_view what, instead;
};
constexpr std::string_view proxmox = "Proxmox's configuration of a machine",
                           showcmd = "'qm showcmd VMID' prints QEMU's command line, which is read",
                           manifest = "a manifest of Kubernetes",
                           dumpxml =
                               "of KubeVirt's machines, 'virsh dumpxml' in the pod of virt-launcher prints libvirt's "
                               "domain XML";
constexpr Foreign foreign[] = {
    {"apiVersion:", manifest, dumpxml},
    {R"("apiVersion":)", manifest, dumpxml},
    {R"({"apiVersion":)", manifest, dumpxml},
    {"[hypervisor.", "Kata Containers' configuration",
     "Kata has EPC by a pod's annotation 'sgx.intel.com/epc', and a running sandbox has QEMU's /proc/PID/cmdline"},
    {"scsihw:", proxmox, showcmd},
    {"smbios1:", proxmox, showcmd},
    {"net0:", proxmox, showcmd},
    {"bootdisk:", proxmox, showcmd},
    {"ostype:", proxmox, showcmd},
    {"vmgenid:", proxmox, showcmd},
    {"args:", proxmox, showcmd},
};

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }  // npos + 1: all

std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return line;
}

/// UTF-16 has a mark, or NUL at every other place of its first characters, which a command's words have not.
bool is_utf16(std::string_view text) {
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) return true;
  constexpr std::size_t least = 8;
  for (const std::size_t first : {0u, 1u}) {
    std::size_t at = first;
    while (at < text.size() && text[at] == '\0') at += 2;
    if (at >= std::max(least, text.size() / 2) && text.size() >= least) return true;
  }
  return false;
}

/// A shell puts something else in the place of a "$NAME", "${NAME}", "$(COMMAND)", "$@" or "`COMMAND`".
bool is_expanded(std::string_view text) {
  for (std::size_t at = 0; (at = text.find_first_of("$`", at)) != text.npos; ++at) {
    const char next = at + 1 < text.size() ? text[at + 1] : '\0';
    const bool name = (next >= 'A' && next <= 'Z') || (next >= 'a' && next <= 'z') || (next >= '0' && next <= '9');
    if (text[at] == '`' || name || std::string_view("{(@*_").find(next) != std::string_view::npos) return true;
  }
  return false;
}

/// A line's words, as far as their ends are blanks.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t end = std::min(line.find_first_of(" \t\r\\", at), line.size());
    if (end > at) words.emplace_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

/// A shell's line that begins with a program of QEMU's, behind variables and what runs it. A configuration has '='
/// behind each of its names.
bool begins_command(const std::vector<std::string>& words) {
  const auto program = qemu_of(words);
  const auto is_word = [](const std::string& word) { return word.find_first_of("\"'[]") == word.npos; };
  return program && std::ranges::all_of(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(*program) + 1,
                                        [&](const std::string& word) {
                                          return is_word(word) && word != "=" && word != "+=" && !word.ends_with('=');
                                        });
}

}  // namespace

tl::expected<std::string_view, Diagnostic> without_mark(std::string_view text) {
  if (is_utf16(text)) return tl::unexpected(Diagnostic{{1, 1}, "found UTF-16, expected UTF-8"});
  constexpr std::string_view mark = "\xef\xbb\xbf";
  if (text.starts_with(mark)) text.remove_prefix(mark.size());
  return text;
}

std::string_view without_prompt(std::string_view text) {
  const std::size_t end = text.find('\n');
  const std::size_t next = text.find_first_not_of(" \t\r\n", std::min(end, text.size()));
  if (next == text.npos || (text[next] != '<' && text[next] != '{')) return text;
  const std::string_view line = text.substr(0, end);
  const bool prompt = std::ranges::any_of(std::array{"$ ", "# ", "> ", "% "},
                                          [&](const char* mark) { return line.find(mark) != line.npos; });
  return prompt && line.find_first_of("<{") == line.npos ? text.substr(end) : text;
}

tl::expected<std::string_view, Diagnostic> readable(std::string_view bytes) {
  const std::string_view text = without_prompt(TRY(without_mark(bytes)));
  std::string_view rest = text;
  for (u32 number = 1; !rest.empty(); ++number) {
    const std::string_view line = next_line(rest);
    for (const Foreign& row : foreign) {
      if (line.starts_with(row.line))
        return tl::unexpected(Diagnostic{{number, 1}, fmt::format("found {}; {}", row.what, row.instead)});
    }
  }
  return text;
}

std::optional<std::size_t> cloud_hypervisor_of(const std::vector<std::string>& argv) {
  const auto end = std::ranges::find_if(argv, [](const std::string& word) { return word.starts_with("-"); });
  const auto found =
      std::find_if(argv.begin(), end, [](const std::string& word) { return base_name(word) == "cloud-hypervisor"; });
  return found == end ? std::nullopt : std::optional(static_cast<std::size_t>(found - argv.begin()));
}

bool brings_kvm(std::string_view program) {
  const std::string_view name = base_name(program);
  return name == "kvm" || name == "qemu-kvm" || name == "kvm-spice";
}

std::optional<Diagnostic> not_of_command(const std::vector<std::string>& argv) {
  constexpr std::string_view counted[] = {"cpu", "machine", "accel", "numa", "global"};
  for (const QemuOption& option : qemu_options(argv)) {
    const auto wrong = [&](std::string_view word, const char* why) {
      return Diagnostic{{option.index + 1, 1}, fmt::format("found {}, {}", shown(word), why)};
    };
    const bool memory = option.value.find("memory-backend-") != option.value.npos || option.value.starts_with('$');
    const bool counts = option.name.empty() || among(option.name, counted) || (option.name == "object" && memory);
    const bool value = counts && is_expanded(option.value);
    if (value || is_expanded(option.name))
      return wrong(value ? option.value : argv[option.index], "which a shell replaces: expected what it stands for");
    if (option.name.empty() && base_name(option.value).starts_with("qemu-system-"))
      return wrong(option.value, "which begins another command: expected one");
  }
  return std::nullopt;
}

std::optional<Diagnostic> of_other_architecture(std::string_view program) {
  constexpr std::string_view system = "qemu-system-";
  const std::size_t at = program.find(system);
  if (at == program.npos) return std::nullopt;
  const std::string_view processor = program.substr(at + system.size());
  if (processor.starts_with("x86_64") || processor.starts_with("i386")) return std::nullopt;
  return Diagnostic{
      {}, fmt::format("found {}, expected qemu-system-x86_64: SGX is a matter of Intel's processors", shown(program))};
}

std::optional<std::size_t> qemu_of(const std::vector<std::string>& argv) {
  const auto is_program = [](const std::string& word) {
    const std::string_view name = base_name(word);
    // "qemu64" is a model, and "qemu64,+sgx" a list.
    const bool model = name.starts_with("qemu32") || name.starts_with("qemu64") || name.find(',') != name.npos;
    return (name.starts_with("qemu") && !model) || brings_kvm(name);
  };
  // What stands before it runs it, and has none of QEMU's own options; a value of theirs is no program ("-accel kvm").
  constexpr std::string_view own[] = {"-cpu", "-machine", "-M", "-accel", "-enable-kvm", "-object", "-name"};
  const auto end = std::ranges::find_if(argv, [&](const std::string& word) {
    return among(word, own) || (word.starts_with("--") && among(std::string_view(word).substr(1), own));
  });
  const auto found = std::find_if(argv.begin(), end, is_program);
  if (found != end) return static_cast<std::size_t>(found - argv.begin());
  // An emulator of any name, as a domain may have, by its path and by these options.
  const bool other = argv.size() > 1 && argv.front().starts_with('/') && !argv[1].starts_with("--") &&
                     is_qemu_option(argv[1]) && end != argv.end() && !end->starts_with("--");
  return other ? std::optional<std::size_t>(0) : std::nullopt;
}

bool is_command(std::string_view text) {
  if (text.find('\0') != text.npos) return true;  // /proc/PID/cmdline
  if (const auto logged = last_start(text)) text = logged->command;
  bool first = true;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = next_line(rest);
    if (line.empty() || line.front() == '#' || line.front() == '\r') continue;
    const std::vector<std::string> words = words_of(line);
    if (first && !words.empty() && is_qemu_option(words.front())) return true;
    if (first && (qemu_of(words) || cloud_hypervisor_of(words))) return true;
    // A script may have other lines before it.
    if (begins_command(words)) return true;
    // Variables in a shell's environment may stand before it, each in a line that goes on (libvirt's log).
    first &= line.ends_with('\\');
  }
  return false;
}

std::optional<Diagnostic> no_configuration(std::string_view text, std::string_view expected) {
  Position at{1, 1};
  for (std::string_view rest = text; !rest.empty(); ++at.line) {
    const std::string_view line = next_line(rest);
    if (line.empty() || line.front() == '#' || line.front() == ';' || line.front() == '\r') continue;
    if (line.front() == '{') return Diagnostic{at, fmt::format("found JSON, expected {}", expected)};
    if (line.front() != '[') return std::nullopt;
    const char* const found = has_section(text, "libvirt") ? "nova.conf" : "a file of sections";
    return Diagnostic{at, fmt::format("found {}, expected {}", found, expected)};
  }
  return std::nullopt;
}

bool has_section(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (!line.starts_with('[') || line.size() < name.size() + 2 || line[name.size() + 1] != ']') continue;
    const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
    if (std::ranges::equal(line.substr(1, name.size()), name, same)) return true;
  }
  return false;
}

}  // namespace cloister::toolstack::vm
