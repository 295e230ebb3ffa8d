#include "interop/vm/kinds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "interop/vm/libvirt_log.hpp"
#include "interop/vm/qemu_options.hpp"

namespace cloister::toolstack::vm {

namespace {

/// A file of another tool, by how one of its lines begins.
struct Foreign {
  std::string_view line;
  std::string_view what, instead;
};
constexpr std::string_view proxmox = "Proxmox's configuration of a machine",
                           showcmd = "'qm showcmd VMID' prints QEMU's command line, which is read";
constexpr Foreign foreign[] = {
    {"apiVersion:", "a manifest of Kubernetes",
     "of KubeVirt's machines, 'virsh dumpxml' in the pod of virt-launcher prints libvirt's domain XML"},
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

}  // namespace

tl::expected<std::string_view, Diagnostic> without_mark(std::string_view text) {
  if (is_utf16(text)) return tl::unexpected(Diagnostic{{1, 1}, "found UTF-16, expected UTF-8"});
  constexpr std::string_view mark = "\xef\xbb\xbf";
  if (text.starts_with(mark)) text.remove_prefix(mark.size());
  return text;
}

tl::expected<std::string_view, Diagnostic> readable(std::string_view bytes) {
  const auto text = without_mark(bytes);
  if (!text) return text;
  std::string_view rest = *text;
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

std::optional<std::size_t> qemu_of(const std::vector<std::string>& argv) {
  const auto is_program = [](const std::string& word) {
    const std::string_view name = base_name(word);
    // "qemu64" is a model, and "qemu64,+sgx" a list.
    const bool model = name.starts_with("qemu32") || name.starts_with("qemu64") || name.find(',') != name.npos;
    return (name.starts_with("qemu") && !model) || brings_kvm(name);
  };
  // What stands before it runs it.
  const auto end = std::ranges::find_if(argv, [](const std::string& word) { return word == "-cpu" || word == "-M"; });
  const auto found = std::find_if(argv.begin(), end, is_program);
  return found == end ? std::nullopt : std::optional(static_cast<std::size_t>(found - argv.begin()));
}

bool is_command(std::string_view text) {
  if (text.find('\0') != text.npos) return true;  // /proc/PID/cmdline
  if (const auto logged = last_start(text)) text = logged->command;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (line.empty() || line.front() == '#' || line.front() == '\r') continue;
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t end = std::min(line.find_first_of(" \t\r\\", at), line.size());
      if (end > at) words.emplace_back(line.substr(at, end - at));
      at = end + 1;
    }
    if (!words.empty() && is_qemu_option(words.front())) return true;
    if (qemu_of(words) || cloud_hypervisor_of(words)) return true;
    // Variables in a shell's environment may stand before it, each in a line that goes on (libvirt's log).
    if (!line.ends_with('\\')) return false;
  }
  return false;
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
