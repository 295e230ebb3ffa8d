// What programs print of SGX in words, line by line, with any text around (https://github.com/gramineproject/gramine,
// is-sgx-available; QEMU's "info sgx" in hw/i386/sgx.c; Linux's arch/x86/kernel/cpu/sgx/main.c, feat_ctl.c and proc.c;
// lscpu(1); rdmsr(1) of msr-tools; cpuid(1) without -r, whose lines policy/sgx_flags.cpp has).
#include <algorithm>
#include <array>

#include "arch/msr.hpp"
#include "interop/hosts/formats.hpp"
#include "policy/flags.hpp"
#include "text/trimmed.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack::hosts {

namespace {

using policy::HostView;

/// A line "WORDS: yes" or "WORDS = true"; what stands in brackets after the words is left out.
struct FlagLine {
  std::string_view words, feature, program;
};
constexpr FlagLine flag_lines[] = {
    {"SGX supported by CPU", "sgx", "is-sgx-available"},
    {"SGX1", "sgx1", "is-sgx-available"},
    {"SGX2", "sgx2", "is-sgx-available"},
    {"Flexible Launch Control", "sgxlc", "is-sgx-available"},
    {"SGX support", "sgx", "QEMU's 'info sgx'"},
    {"SGX1 support", "sgx1", "QEMU's 'info sgx'"},
    {"SGX2 support", "sgx2", "QEMU's 'info sgx'"},
    {"FLC support", "sgxlc", "QEMU's 'info sgx'"},
    {"sgx available", "sgx", "test-sgx"},
    {"sgx launch control", "sgxlc", "test-sgx"},
    {"sgx 1 supported", "sgx1", "test-sgx"},
    {"sgx 2 supported", "sgx2", "test-sgx"},
};

/// What the kernel says of SGX as a whole; the first of which a line has the words counts.
struct KernelLine {
  std::string_view words;
  bool off = false;      ///< firmware did not switch SGX on
  bool locked = false;   ///< the launch hash cannot be written
  bool refused = false;  ///< guests have no SGX for it
};
constexpr KernelLine kernel_lines[] = {
    {.words = "SGX disabled by BIOS", .off = true, .refused = true},
    {.words = "SGX disabled or unsupported by BIOS", .off = true, .refused = true},
    {.words = "SGX Launch Control is locked. Disable SGX driver", .locked = true},
    {.words = "SGX Launch Control is locked. Disable SGX", .locked = true, .refused = true},
    {.words = "SGX Launch Control is locked", .locked = true},
    {.words = "SGX virtualization disabled due to lack of VMX", .refused = true},
    {.words = "sgx: There are zero EPC sections", .refused = true},
};

std::string_view bare(std::string_view text) { return trimmed(text, " \t\r"); }

std::optional<bool> truth(std::string_view word) {
  for (const std::string_view yes : {"true", "1", "enabled", "yes"})
    if (word == yes) return true;
  for (const std::string_view no : {"false", "0", "disabled", "no"})
    if (word == no) return false;
  return std::nullopt;
}

/// Reads lines into a host, and remembers whose they were.
class ReportReader {
 public:
  explicit ReportReader(HostView& host) : host_(host) {}

  void read(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      read_line(bare(text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    if (!sections_.empty() && !host_.epc) host_.epc = std::move(sections_);
  }
  const std::string& programs() const { return programs_; }

 private:
  void told(std::string_view program) {
    if (programs_.find(program) != programs_.npos) return;
    programs_.append(programs_.empty() ? "" : " and ").append(program);
  }

  void read_line(std::string_view line) {
    if (read_cpuinfo(line) || read_msr(line) || read_kernel(line) || read_section(line)) return;
    read_flag(line);
  }

  void learn(std::string_view feature, bool on, std::string_view program) {
    host_.named.learn(*policy::find_feature(feature), on);
    told(program);
  }

  void read_flag(std::string_view line) {
    const std::size_t mark = line.find_last_of("=:");
    if (mark == line.npos) return;
    const auto on = truth(bare(line.substr(mark + 1)));
    std::string_view words = bare(line.substr(0, mark));
    if (!on || words.empty()) return;
    for (const policy::SgxFlag& flag : policy::sgx_flags())
      if (flag.cpuid == words) return learn(flag.name, *on, "'cpuid' without -r");
    words = bare(words.substr(0, words.find('(')));
    const auto* const row = std::ranges::find(flag_lines, words, &FlagLine::words);
    if (row != std::end(flag_lines)) learn(row->feature, *on, row->program);
  }

  /// "flags : fpu vme …" of /proc/cpuinfo, "Flags: …" of lscpu: what the kernel found and uses. Others may be there.
  bool read_cpuinfo(std::string_view line) {
    const std::size_t colon = std::min(line.find(':'), line.size());
    const std::string_view what = bare(line.substr(0, colon));
    const std::string_view said = line.substr(std::min(colon + 1, line.size()));
    if (what == "vendor_id" || what == "Vendor ID") {
      constexpr std::pair<std::string_view, std::string_view> vendors[] = {
          {"GenuineIntel", "Intel"}, {"AuthenticAMD", "AMD"}, {"HygonGenuine", "Hygon"}};
      for (const auto& [word, vendor] : vendors)
        if (bare(said) == word) host_.vendor = vendor;
      if (!host_.vendor.empty() && host_.vendor != "Intel")
        learn("sgx", false, what == "vendor_id" ? "/proc/cpuinfo" : "lscpu");
    }
    if (what != "flags" && what != "Flags") return false;
    // Linux's own words for what it makes of bits that are Intel's or AMD's.
    constexpr std::string_view synthetic[] = {"ibrs", "ibpb", "stibp", "ssbd", "virt_ssbd"};
    for (const std::string_view word : words_of(said, " \t")) {
      const policy::Feature* const feature = policy::find_spelling(word, policy::Tool::cpuinfo);
      const bool known = feature != nullptr && policy::spelling(*feature, policy::Tool::cpuinfo) == word;
      if (known && std::ranges::find(synthetic, word) == std::end(synthetic))
        learn(feature->name, true, what == "flags" ? "/proc/cpuinfo" : "lscpu");
    }
    return true;
  }

  /// "sgx: EPC section 0x70200000-0x75f7ffff", the last byte included, behind a time or a name.
  bool read_kernel(std::string_view line) {
    for (const KernelLine& row : kernel_lines)
      if (const std::size_t at = line.find(row.words); at != line.npos) return obey(row, line.substr(at));
    constexpr std::string_view mark = "sgx: EPC section ";
    const std::size_t at = line.find(mark);
    if (at == line.npos) return false;
    const std::string_view range = line.substr(at + mark.size());
    const std::size_t dash = std::min(range.find('-'), range.size());
    const auto first = hexadecimal(range.substr(0, dash));
    const auto last = hexadecimal(range.substr(std::min(dash + 1, range.size())));
    if (!first || !last || *last <= *first) return false;
    add_section({.base = *first, .bytes = *last - *first + 1, .property = 0, .node = std::nullopt});
    learn("sgx", true, "the kernel's log");
    learn("sgx1", true, "the kernel's log");
    return true;
  }

  bool obey(const KernelLine& row, std::string_view said) {
    learn("sgx", true, "the kernel's log");
    if (row.off) learn("sgx1", false, "the kernel's log");
    if (row.locked) learn("sgxlc", true, "the kernel's log");
    host_.launch_locked |= row.locked;
    if (row.refused) host_.refusal = shown(said.substr(0, said.find_last_not_of(". ") + 1));
    return true;
  }

  /// "NUMA node #0: size=67108864" of QEMU, "EPC size: 0x5d80000" of is-sgx-available.
  bool read_section(std::string_view line) {
    constexpr std::string_view node = "NUMA node #", size = ": size=", sum = "EPC size: ";
    policy::EpcSectionView section{.base = std::nullopt, .bytes = 0, .property = 0, .node = std::nullopt};
    if (line.starts_with(sum)) {
      section.bytes = hexadecimal(line.substr(sum.size())).value_or(0);
    } else if (const std::size_t at = line.find(size); line.starts_with(node) && at != line.npos) {
      const auto number = whole_number<u64>(line.substr(node.size(), at - node.size()));
      if (!number || *number > ~u32{0}) return false;
      section.node = static_cast<u32>(*number);
      section.bytes = whole_number<u64>(line.substr(at + size.size())).value_or(0);
    }
    if (section.bytes == 0) return false;
    add_section(section);
    told(section.node ? "QEMU's 'info sgx'" : "is-sgx-available");
    return true;
  }

  /// As many as a kernel or a processor may list, a thousand times over.
  void add_section(const policy::EpcSectionView& section) {
    constexpr std::size_t most = 8192;
    if (sections_.size() < most) sections_.push_back(section);
  }

  /// "rdmsr 0x3a" with its answer in the next line, or the register's number and its value in one: "0x3a: 0x60005".
  bool read_msr(std::string_view line) {
    if (const Asked asked = std::exchange(asked_, {}); asked.index != 0) {
      const auto value = asked.decimal ? whole_number<u64>(line) : hexadecimal(line);
      if (value && asked.all) asked_ = asked;
      if (value) return learn_msr(asked.index, *value, asked.all || asked.one_of_several);
    }
    constexpr std::string_view command = "rdmsr ";
    if (const std::size_t at = line.find(command); at != line.npos) return ask(line.substr(at + command.size()));
    const std::vector<std::string_view> words = words_of(line, " \t:=>-");
    const bool said = words.size() == 2 || words.size() == 3;
    const auto index = said ? number_of(words[words.size() - 2]) : std::nullopt;
    const auto value = said ? hexadecimal(words.back()) : std::nullopt;
    return index && value ? learn_msr(*index, *value, false) : false;
  }

  /// What rdmsr is asked for, with options of one letter or a word before the MSR's number.
  bool ask(std::string_view arguments) {
    const std::vector<std::string_view> words = words_of(arguments, " \t");
    const auto index = words.empty() ? std::nullopt : number_of(words.back());
    if (!index) return false;
    const auto has = [&](char letter, std::string_view name) {
      return std::ranges::any_of(words, [&](std::string_view word) {
        if (word.starts_with("--")) return word.substr(2).starts_with(name);
        return word.starts_with('-') && word.find(letter) != word.npos;
      });
    };
    // In octal, as bytes, or some of its bits alone, a value is not to be mistaken for one.
    if (has('o', "octal") || has('r', "raw") || has('f', "bitfield")) return true;
    asked_ = {.index = *index,
              .all = has('a', "all"),
              .one_of_several = has('p', "processor"),
              .decimal = has('d', "decimal") || has('u', "unsigned")};
    return true;
  }

  static std::vector<std::string_view> words_of(std::string_view line, std::string_view between) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t first = std::min(line.find_first_not_of(between, at), line.size());
      at = std::min(line.find_first_of(between, first), line.size());
      if (at > first) words.push_back(line.substr(first, at - first));
    }
    return words;
  }

  /// A register of launch control's.
  static std::optional<u32> number_of(std::string_view word) {
    const bool plain = word.size() == 8;  // as xen-cpuid writes it
    const auto number = word.starts_with("0x") || plain ? hexadecimal(word) : std::nullopt;
    const bool ours = number == arch::msr::feature_control ||
                      (number >= arch::msr::sgxlepubkeyhash0 && number <= arch::msr::sgxlepubkeyhash0 + 3);
    return ours ? std::optional(static_cast<u32>(*number)) : std::nullopt;
  }

  /// `beside`: of other processors than the values before.
  bool learn_msr(u32 index, u64 value, bool beside) {
    const auto [known, is_new] = host_.msrs.try_emplace(index, value);
    if (beside && known->second != value) host_.other_msrs.emplace(index, value);
    if (!beside) known->second = value;
    told("MSRs");
    return true;
  }

  /// An MSR whose value is in the lines that follow.
  struct Asked {
    u32 index = 0;  ///< 0: none
    bool all = false, one_of_several = false, decimal = false;
  };

  HostView& host_;
  std::string programs_;
  std::vector<policy::EpcSectionView> sections_;
  Asked asked_;  ///< what comes next
};

}  // namespace

std::optional<u64> hexadecimal(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  return whole_number<u64>(text, 16);
}

std::string read_reports(std::string_view text, HostView& host) {
  ReportReader reader(host);
  reader.read(text);
  return reader.programs();
}

}  // namespace cloister::toolstack::hosts
