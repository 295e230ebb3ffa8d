// CPUID leaf by leaf, put back together from what programs print of it in words: cpuid(1) without -r, and test-sgx 2.0
// (https://github.com/ayeks/SGX-hardware). cpuid has a heading for each leaf, and below it lines "WORDS = VALUE":
//
//     CPU 0:
//        extended feature flags (7):
//           SGX: Software Guard Extensions supported = true
//
// A bit whose words are not known, as of another version, stays unknown.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "arch/msr.hpp"
#include "interop/hosts/cpuid_lines.hpp"
#include "interop/hosts/formats.hpp"
#include "policy/flags.hpp"
#include "text/trimmed.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack::hosts {

namespace {

using arch::CpuidReg;
using arch::CpuidRegs;
namespace leaf = arch::leaf;

/// Headings and lines of which one is enough.
constexpr std::string_view decoded_marks[] = {
    "version information (1/eax):", "feature information (1/edx):",
    "feature information (1/ecx):", "extended feature flags (7):",
    "(SGX) capability (0x12/0):",   "SECS.ATTRIBUTES (0x12/1):",
    "(EPC) enumeration (0x12/0x",   "Extended feature bits (EAX=7, ECX=0): eax: "};

/// A field of a register that is printed as a number.
struct CpuidField {
  u32 leaf, subleaf;
  std::string_view words;
  CpuidReg reg;
  unsigned shift, bits;
};
constexpr CpuidField cpuid_fields[] = {
    {leaf::version, 0, "stepping id", CpuidReg::eax, 0, 4},
    {leaf::version, 0, "model", CpuidReg::eax, 4, 4},
    {leaf::version, 0, "family", CpuidReg::eax, 8, 4},
    {leaf::version, 0, "processor type", CpuidReg::eax, 12, 2},
    {leaf::version, 0, "extended model", CpuidReg::eax, 16, 4},
    {leaf::version, 0, "extended family", CpuidReg::eax, 20, 8},
    {leaf::sgx, 0, "MaxEnclaveSize_Not64 (log2)", CpuidReg::edx, 0, 8},
    {leaf::sgx, 0, "MaxEnclaveSize_64 (log2)", CpuidReg::edx, 8, 8},
};

/// SGX's flags as test-sgx 2.0 has them; the word in brackets, or behind "ATTRIBUTES".
struct TestSgxFlag {
  std::string_view word, feature;
};
constexpr TestSgxFlag test_sgx_flags[] = {
    {"SGX1", "sgx1"},
    {"SGX2", "sgx2"},
    {"OVERSUB-VMX", "sgx-enclv"},
    {"OVERSUB-Supervisor", "sgx-oss"},
    {"EVERIFYREPORT2", "sgx-everifyreport2"},
    {"EUPDATESVN", "sgx-eupdatesvn"},
    {"EDECCSSA", "sgx-edeccssa"},
};

/// What stands behind the last '(', up to ')'.
std::string_view in_brackets(std::string_view text) {
  const std::size_t open = text.rfind('('), close = text.find(')', open == text.npos ? 0 : open);
  return open == text.npos || close == text.npos ? std::string_view() : text.substr(open + 1, close - open - 1);
}

std::optional<std::string_view> behind(std::string_view text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  if (at == text.npos) return std::nullopt;
  return trimmed(text.substr(at + mark.size()));
}

class DecodedReader {
 public:
  explicit DecodedReader(policy::HostView& host) : host_(host) {}

  void read(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      line.remove_prefix(std::min(line.find_first_not_of("> |\t"), line.size()));
      line = trimmed(line, " \t\r");
      if (line.empty() || read_processor(line) || read_heading(line) || read_raw(line) || read_test_sgx(line)) continue;
      read_value(line);
    }
    std::erase_if(host_.cpus, [](const policy::DumpedCpu& cpu) { return cpu.table.leaves().empty(); });
  }

 private:
  policy::CpuidTable& table() {
    if (host_.cpus.empty()) host_.cpus.emplace_back();
    return host_.cpus.back().table;
  }
  void learn(u32 leaf, u32 subleaf, CpuidReg reg, u32 value, u32 known) {
    CpuidRegs regs, mask;
    value_of(regs, reg) = value;
    value_of(mask, reg) = known;
    table().learn(leaf, subleaf, regs, mask);
  }
  void learn(std::string_view feature, bool on) { table().learn(*policy::find_feature(feature), on); }
  void learn_brand(std::string_view brand) {
    char text[48]{};
    std::memcpy(text, brand.data(), std::min(brand.size(), sizeof text));
    for (u32 i = 0; i < 3; ++i) {
      CpuidRegs part;
      std::memcpy(&part, text + 16 * i, sizeof part);
      table().learn(leaf::extended_features + 1 + i, 0, part, {~0u, ~0u, ~0u, ~0u});
    }
  }

  /// "CPU 0:", "CPU:"; more than a machine has are not kept.
  bool read_processor(std::string_view line) {
    constexpr std::size_t most = 4096;
    if (!line.starts_with("CPU") || !line.ends_with(':')) return false;
    const std::string_view digits = trimmed(line.substr(3, line.size() - 4));
    const auto number = digits.empty() ? std::optional<u64>(0) : whole_number<u64>(digits);
    if (!number || *number > ~u32{0}) return false;
    if (host_.cpus.size() < most) host_.cpus.push_back({static_cast<u32>(*number), {}});
    leaf_ = none;
    below_heading_ = false;
    return true;
  }

  /// "WORDS (0x12/0x2):", "WORDS (1/edx):"
  bool read_heading(std::string_view line) {
    if (!line.ends_with("):")) return false;
    const std::string_view place = in_brackets(line);
    const std::size_t slash = std::min(place.find('/'), place.size());
    const std::string_view first = place.substr(0, slash), second = place.substr(std::min(slash + 1, place.size()));
    const auto number = first.starts_with("0x") ? hexadecimal(first) : whole_number<u64>(first);
    leaf_ = number && *number < none ? static_cast<u32>(*number) : none;
    const auto below = second.starts_with("0x") ? hexadecimal(second) : whole_number<u64>(second);
    subleaf_ = static_cast<u32>(below.value_or(0));
    section_ = {};
    below_heading_ = true;
    return true;
  }

  /// What cpuid has no words for, it prints as with -r.
  bool read_raw(std::string_view line) {
    if (!line.starts_with("0x") || line.find(": eax=") == line.npos) return false;
    if (const auto dump = policy::read_cpuid_dump(line)) {
      for (const auto& [where, regs] : dump->cpus.front().table.leaves()) table().set(where.first, where.second, regs);
    }
    return true;
  }

  void read_value(std::string_view line) {
    const std::size_t mark = line.find(" = ");
    const std::size_t equals = mark == line.npos ? line.rfind('=') : mark + 1;
    if (equals == line.npos) return;
    const std::string_view words = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
    if (value.starts_with('"')) return read_text(words, value.substr(1, value.rfind('"') - 1));
    if (value == "true" || value == "false") return read_flag(words, value == "true");
    for (const CpuidField& field : cpuid_fields) {
      if (field.leaf == leaf_ && field.subleaf == subleaf_ && field.words == words) return read_field(field, value);
    }
    if (leaf_ == leaf::sgx) return read_sgx(words, value);
    if (leaf_ == leaf::xsave && subleaf_ == 0 && words.starts_with("XCR0") && words.ends_with("valid bit field mask"))
      if (const auto mask = hexadecimal(value)) {
        learn(leaf::xsave, 0, CpuidReg::eax, static_cast<u32>(*mask), ~0u);
        learn(leaf::xsave, 0, CpuidReg::edx, static_cast<u32>(*mask >> 32), ~0u);
      }
  }

  void read_text(std::string_view words, std::string_view value) {
    if (words == "brand") learn_brand(value);
    constexpr std::size_t letters = 12;
    if (words != "vendor_id" || value.size() != letters) return;
    CpuidRegs regs;
    std::memcpy(&regs.ebx, value.data(), 4);
    std::memcpy(&regs.edx, value.data() + 4, 4);
    std::memcpy(&regs.ecx, value.data() + 8, 4);
    table().learn(leaf::basic_max, 0, regs, {0, ~0u, ~0u, ~0u});
  }

  void read_flag(std::string_view words, bool on) {
    // Headings are lost to grep; SGX's own words stand below one heading only.
    if (leaf_ == leaf::features || leaf_ == leaf::sgx || !below_heading_) {
      for (const policy::SgxFlag& flag : policy::sgx_flags())
        if (flag.cpuid == words && !words.empty()) return learn(flag.name, on);
    }
    for (const CpuidLine& known : cpuid_lines_of_features())
      if (known.leaf == leaf_ && known.words == words) return learn(known.feature, on);
  }

  /// "0x6 (6)", or words with the number in brackets.
  void read_field(const CpuidField& field, std::string_view value) {
    const auto number = whole_number<u64>(in_brackets(value));
    const u32 mask = (u32{1} << field.bits) - 1;
    if (number && *number <= mask)
      learn(field.leaf, field.subleaf, field.reg, static_cast<u32>(*number) << field.shift, mask << field.shift);
  }

  void read_sgx(std::string_view words, std::string_view value) {
    constexpr std::size_t two_words = 2 + 32;
    if (subleaf_ == 1 && words.ends_with("valid bit mask") && value.size() == two_words) {
      const auto xfrm = hexadecimal(value.substr(2, 16)), attributes = hexadecimal(value.substr(18));
      if (xfrm && attributes) learn_attributes(*attributes, *xfrm);
    }
    if (subleaf_ < 2) return;
    if (words == "type" && value == "invalid") table().set(leaf::sgx, subleaf_, {});
    if (words == "section physical address") section_.base = hexadecimal(value);
    if (words == "section size") section_.bytes = hexadecimal(value).value_or(0);
    if (words != "section property" || !section_.base) return;
    const u64 number = whole_number<u64>(in_brackets(value)).value_or(0);
    put_section(subleaf_, value.starts_with("confidentiality & integrity") ? 1
                          : value.starts_with("confidentiality")           ? 2
                                                                           : number);
  }

  void learn_attributes(u64 attributes, u64 xfrm) {
    table().set(leaf::sgx, 1,
                {static_cast<u32>(attributes), static_cast<u32>(attributes >> 32), static_cast<u32>(xfrm),
                 static_cast<u32>(xfrm >> 32)});
  }

  void put_section(u32 subleaf, u64 property) {
    constexpr u32 is_section = 1, low = 0xffff'f000, high = 0xf'ffff;
    const u64 base = section_.base.value_or(0);
    table().set(leaf::sgx, subleaf,
                {(static_cast<u32>(base) & low) | is_section, static_cast<u32>(base >> 32) & high,
                 (static_cast<u32>(section_.bytes) & low) | (static_cast<u32>(property) & 0xf),
                 static_cast<u32>(section_.bytes >> 32) & high});
  }

  // ------------------------------------------------------------------------------------------------ test-sgx 2.0

  bool read_test_sgx(std::string_view line) {
    if (const auto brand = behind(line, "CPU: "); brand && line.starts_with("CPU: ")) return learn_brand(*brand), true;
    if (const auto rest = behind(line, "Extended feature bits (EAX=7, ECX=0):")) return read_leaf_7(*rest);
    if (const auto rest = behind(line, "(MISCSELECT)")) {
      if (const auto bits = hexadecimal(*rest)) learn(leaf::sgx, 0, CpuidReg::ebx, static_cast<u32>(*bits), ~0u);
      return true;
    }
    if (line.starts_with("The maximum supported enclave size")) {
      const auto power = whole_number<u64>(behind(line, "2^").value_or(""));
      const unsigned shift = line.find("non-64") == line.npos ? 8 : 0;
      if (power && *power < 64) learn(leaf::sgx, 0, CpuidReg::edx, static_cast<u32>(*power) << shift, 0xffu << shift);
      return true;
    }
    if (const auto rest = behind(line, "Raw IA32_FEATURE_CONTROL: ")) {
      if (const auto value = hexadecimal(*rest)) host_.msrs[arch::msr::feature_control] = *value;
      return true;
    }
    return read_attributes(line) || read_section(line) || read_version(line) || read_test_sgx_flag(line);
  }

  bool read_leaf_7(std::string_view rest) {
    CpuidRegs regs;
    for (const auto& [name, value] : {std::pair<std::string_view, u32*>{"eax: ", &regs.eax},
                                      {"ebx: ", &regs.ebx},
                                      {"ecx: ", &regs.ecx},
                                      {"edx: ", &regs.edx}}) {
      const auto digits = behind(rest, name);
      const auto number = digits ? hexadecimal(digits->substr(0, digits->find(' '))) : std::nullopt;
      if (!number || *number > ~u32{0}) return true;
      *value = static_cast<u32>(*number);
    }
    table().set(leaf::features, 0, regs);
    return true;
  }

  /// "Raw ECREATE SECS.ATTRIBUTES[63:0]: HIGH LOW", and XFRM in the same way.
  bool read_attributes(std::string_view line) {
    if (!line.starts_with("Raw ECREATE SECS.ATTRIBUTES[")) return false;
    const std::string_view rest = trimmed(line.substr(line.rfind(':') + 1));
    const std::size_t blank = std::min(rest.find(' '), rest.size());
    const auto high = hexadecimal(rest.substr(0, blank)), low = hexadecimal(trimmed(rest.substr(blank)));
    if (!high || !low || *high > ~u32{0} || *low > ~u32{0}) return true;
    const bool xfrm = line.find("127:64") != line.npos;
    learn(leaf::sgx, 1, xfrm ? CpuidReg::ecx : CpuidReg::eax, static_cast<u32>(*low), ~0u);
    learn(leaf::sgx, 1, xfrm ? CpuidReg::edx : CpuidReg::ebx, static_cast<u32>(*high), ~0u);
    return true;
  }

  /// "EPC[0]: Protection: ci  Base phys addr: 0000000070200000  size: 0000000005d80000"
  bool read_section(std::string_view line) {
    const auto base = behind(line, "Base phys addr: "), size = behind(line, "size: ");
    if (!line.starts_with("EPC[") || !base || !size) return false;
    const auto number = whole_number<u64>(line.substr(4, line.find(']') - 4));
    section_ = {.base = hexadecimal(base->substr(0, base->find(' '))), .bytes = hexadecimal(*size).value_or(0)};
    const std::string_view kind = behind(line, "Protection: ").value_or("");
    constexpr u64 most = 64;
    if (number && *number < most && section_.base)
      put_section(static_cast<u32>(*number) + 2, kind.starts_with("ci") ? 1 : kind.starts_with("c") ? 2 : 0);
    return true;
  }

  /// "Stepping 6         Model 10           Family 6", and the rest of the signature in the next line.
  bool read_version(std::string_view line) {
    if (!line.starts_with("Stepping ") && !line.starts_with("Processor type ")) return false;
    for (const auto& [word, field] : {std::pair<std::string_view, std::size_t>{"Stepping ", 0},
                                      {"Processor type ", 3},
                                      {"Extended model ", 4},
                                      {"Extended family ", 5},
                                      {"Model ", 1},
                                      {"Family ", 2}}) {
      const auto rest = behind(line, word);
      const auto number = rest ? whole_number<u64>(rest->substr(0, rest->find(' '))) : std::nullopt;
      const u32 mask = (u32{1} << cpuid_fields[field].bits) - 1;
      if (number && *number <= mask)
        learn(leaf::version, 0, CpuidReg::eax, static_cast<u32>(*number) << cpuid_fields[field].shift,
              mask << cpuid_fields[field].shift);
    }
    return true;
  }

  /// "SGX1 leaf instructions (SGX1): 1", "EVERIFYREPORT2: 0"
  bool read_test_sgx_flag(std::string_view line) {
    const std::size_t colon = line.rfind(':');
    if (colon == line.npos) return false;
    const std::string_view value = trimmed(line.substr(colon + 1)), name = line.substr(0, colon);
    const std::string_view word = name.ends_with(')') ? in_brackets(name) : name;
    const auto* const flag = std::ranges::find(test_sgx_flags, word, &TestSgxFlag::word);
    if (flag == std::end(test_sgx_flags) || (value != "0" && value != "1")) return false;
    learn(flag->feature, value == "1");
    return true;
  }

  struct Section {
    std::optional<u64> base;
    u64 bytes = 0;
  };
  static constexpr u32 none = ~u32{0};

  policy::HostView& host_;
  u32 leaf_ = none, subleaf_ = 0;  ///< of the heading
  bool below_heading_ = false;     ///< if only one whose number cannot be read
  Section section_;
};

}  // namespace

bool is_decoded(std::string_view text) {
  return std::ranges::any_of(decoded_marks, [&](std::string_view mark) { return text.find(mark) != text.npos; });
}

policy::HostView read_decoded(std::string_view text) {
  policy::HostView host;
  DecodedReader(host).read(text);
  host.source = text.find(decoded_marks[std::size(decoded_marks) - 1]) == text.npos ? "'cpuid' without -r" : "test-sgx";
  return host;
}

}  // namespace cloister::toolstack::hosts
