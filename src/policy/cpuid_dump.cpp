// Formats, line by line. `cpuid -r`, also as mailers quote and wrap it:
//
//     CPU 0:
//        0x00000007 0x00: eax=0x00000000 ebx=0x029c67af ecx=0x00000000 edx=0xbc002e00
//
// AIDA64 and InstLatX64, EAX to EDX, some without colon, sub-leaf or capital letters, old ones with blanks for dashes:
//
//     ------[ Logical CPU #0 ]------            or   CPUID Registers (CPU #2 Virtual):   or   CPU 0:
//     CPU#000 AffMask: 0x0000000000000001       (InstLatX64)
//     CPUID 00000007: 00000000-029C67AF-00000000-BC002E00 [SL 00]
//
// `xen-cpuid -p`, of whose policies the first is the processor's own:
//
//     Raw policy: 32 leaves, 2 MSRs
//      00000007:00000000 -> 00000002:029c67af:40000000:bc002e00
//
// test-sgx, which begins with leaf 1:
//
//     CPUID Leaf 12H, Sub-Leaf 0 of Intel SGX Capabilities (EAX=12H,ECX=0)
//     eax: 1 ebx: 0 ecx: 0 edx: 241f
#include "policy/cpuid_dump.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "policy/leaves.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

/// Reads a line from its start, word by word.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool literal(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  /// Blanks; false if there are none.
  bool blanks() {
    const std::size_t count = std::min(rest_.find_first_not_of(" \t"), rest_.size());
    rest_.remove_prefix(count);
    return count > 0;
  }
  /// A number of one to eight digits.
  std::optional<u32> number(int base) {
    const std::string_view digits = rest_.substr(0, std::min<std::size_t>(rest_.size(), 8));
    u32 value = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc()) return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(stop - digits.data()));
    return value;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

struct Entry {
  u32 leaf = 0;
  std::optional<u32> subleaf;  ///< absent: the format does not say
  CpuidRegs regs;
};

/// What a format makes of a line.
struct Line {
  enum class Kind : u8 {
    other,
    cpu,
    entry,
    part,  ///< an entry that goes on in the next line
    end,   ///< what follows is not the processor's
    wrong,
  } kind = Kind::other;
  u32 cpu = 0;
  Entry entry{};
  std::size_t digits = 0;  ///< of `wrong`: how many a register has, not eight; 0: it is wrong otherwise
};
constexpr std::size_t register_digits = 8;
constexpr Line other{}, part{.kind = Line::Kind::part}, wrong{.kind = Line::Kind::wrong};

/// What a format remembers of the lines before.
struct Memory {
  u32 leaf = leaf::version, subleaf = 0;  ///< a heading's
  bool begun = false;
  bool padded = false;  ///< a register had zeros before its number: each has eight digits
};

struct Format {
  const char* expected;  ///< what a line of registers looks like
  Line (*read)(std::string_view line, Memory& memory);
};

/// The four values, each after what `before` takes.
template <class Before>
bool read_registers(CpuidRegs& regs, const Before& before) {
  constexpr std::string_view names[] = {"eax", "ebx", "ecx", "edx"};
  u32* const values[] = {&regs.eax, &regs.ebx, &regs.ecx, &regs.edx};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::optional<u32> value = before(names[i]);
    if (!value) return false;
    *values[i] = *value;
  }
  return true;
}

// ------------------------------------------------------------------------------------------------ cpuid -r

/// The number of the heading "CPU 0:", if it is that; cpuid -1 leaves the number out.
std::optional<u32> plain_header_cpu(std::string_view text) {
  if (text == "CPU:") return 0;
  Reader line(text);
  if (!line.literal("CPU") || !line.blanks()) return std::nullopt;
  const auto number = line.number(10);
  return line.rest() == ":" ? number : std::nullopt;
}

Line read_raw_line(std::string_view text, Memory& memory) {
  if (const auto cpu = plain_header_cpu(text)) return {.kind = Line::Kind::cpu, .cpu = *cpu};
  Reader line(text);
  const auto hex = [&]() { return line.literal("0x") ? line.number(16) : std::nullopt; };
  // A digit that was lost makes another number. Who writes a register by hand may leave its zeros out, and then of all.
  std::size_t fewest = register_digits;
  bool padded = memory.padded;
  const auto register_value = [&]() {
    const std::string_view before = line.rest();
    const auto value = hex();
    if (!value) return value;
    const std::size_t digits = before.size() - line.rest().size() - 2;
    padded |= digits > 1 && before[2] == '0';
    fewest = std::min(fewest, digits);
    return value;
  };
  const Line no_entry = text.starts_with("0x") && text.find("eax=") != text.npos ? wrong : other;
  Line result{.kind = Line::Kind::entry};
  const auto leaf = hex();
  if (!leaf || !line.blanks()) return no_entry;
  result.entry.leaf = *leaf;
  result.entry.subleaf = hex();
  if (!result.entry.subleaf || !line.literal(":")) return no_entry;
  const bool read = read_registers(result.entry.regs, [&](std::string_view name) {
    line.blanks();
    return line.literal(name) && line.literal("=") ? register_value() : std::nullopt;
  });
  if (!read) return line.rest().empty() ? part : wrong;
  if (padded && fewest < register_digits) return {.kind = Line::Kind::wrong, .digits = fewest};
  memory.padded = padded;
  line.blanks();
  return line.rest().empty() ? result : wrong;
}

// ------------------------------------------------------------------------------------------------ AIDA64, InstLatX64

/// The number of a heading's processor, if it is one.
std::optional<u32> header_cpu(std::string_view text) {
  if (const auto number = plain_header_cpu(text)) return number;
  for (const std::string_view mark : {"CPU #", "CPU#"}) {
    if (const std::size_t at = text.find(mark); at != text.npos)
      return Reader(text.substr(at + mark.size())).number(10);
  }
  return std::nullopt;
}

Line read_aida_line(std::string_view text, Memory&) {
  Reader line(text);
  const auto exactly = [&]() -> std::optional<u32> {
    const std::size_t before = line.rest().size();
    const auto value = line.number(16);
    return value && before - line.rest().size() == register_digits ? value : std::nullopt;
  };
  Line result{.kind = Line::Kind::entry};
  // The reports have headings such as "CPUID Revision" too.
  const bool begins = (line.literal("CPUID") || line.literal("cpuid")) && line.blanks();
  const auto leaf = begins ? exactly() : std::nullopt;
  if (!leaf) {
    const auto cpu = header_cpu(text);
    return cpu ? Line{.kind = Line::Kind::cpu, .cpu = *cpu} : other;
  }
  result.entry.leaf = *leaf;
  line.blanks();
  line.literal(":");
  line.blanks();
  const bool read = read_registers(result.entry.regs, [&](std::string_view name) {
    return name == "eax" || line.literal("-") || line.literal(" ") ? exactly() : std::nullopt;
  });
  if (!read) return wrong;
  // Notes in brackets follow; the sub-leaf is one.
  line.blanks();
  if (line.literal("[SL ")) {
    result.entry.subleaf = line.number(16);
    if (!result.entry.subleaf || !line.literal("]")) return wrong;
  } else if (!line.rest().empty() && !line.literal("[")) {
    return wrong;
  }
  return result;
}

// ------------------------------------------------------------------------------------------------ xen-cpuid, test-sgx

Line read_xen_line(std::string_view text, Memory& memory) {
  constexpr u32 without_subleaf = 0xffff'ffff;
  Reader line(text);
  if (text.find(" policy: ") != text.npos)
    return {.kind = std::exchange(memory.begun, true) ? Line::Kind::end : Line::Kind::other};
  const auto leaf = line.number(16);
  const auto subleaf = leaf && line.literal(":") ? line.number(16) : std::nullopt;
  if (!subleaf || !line.literal(" -> ")) return other;
  Line result{.kind = Line::Kind::entry, .entry = {.leaf = *leaf, .subleaf = *subleaf, .regs = {}}};
  if (*subleaf == without_subleaf) result.entry.subleaf = 0;
  const bool read = read_registers(result.entry.regs, [&](std::string_view name) -> std::optional<u32> {
    if (name != "eax" && !line.literal(":")) return std::nullopt;
    const std::size_t before = line.rest().size();
    const auto value = line.number(16);
    return value && before - line.rest().size() == register_digits ? value : std::nullopt;
  });
  return read && line.rest().empty() ? result : wrong;
}

Line read_test_sgx_line(std::string_view text, Memory& memory) {
  if (const std::size_t heading = text.find("(EAX="); heading != text.npos) {
    Reader line(text.substr(heading));
    line.literal("(EAX=");
    const auto leaf = line.number(16);
    line.literal("H");
    const bool subleaves = line.literal(",");
    line.blanks();
    const auto subleaf = subleaves && line.literal("ECX=") ? line.number(16) : std::nullopt;
    if (leaf && subleaf) memory = {.leaf = *leaf, .subleaf = *subleaf, .begun = true};
    return other;
  }
  Reader line(text);
  Line result{.kind = Line::Kind::entry, .entry = {.leaf = memory.leaf, .subleaf = memory.subleaf, .regs = {}}};
  const bool read = read_registers(result.entry.regs, [&](std::string_view name) {
    line.blanks();
    return line.literal(name) && line.literal(": ") ? line.number(16) : std::nullopt;
  });
  return read && line.rest().empty() ? result : other;
}

constexpr Format formats[] = {
    {"'0xLEAF 0xSUBLEAF: eax=0x… ebx=0x… ecx=0x… edx=0x…'", read_raw_line},
    {"'CPUID LEAF: EAX-EBX-ECX-EDX [SL NN]' with eight digits each", read_aida_line},
    {"'LEAF:SUBLEAF -> EAX:EBX:ECX:EDX'", read_xen_line},
    {"'eax: … ebx: … ecx: … edx: …'", read_test_sgx_line},
};

// ------------------------------------------------------------------------------------------------ the text

/// A stranger's line in a message: short, and printable.
std::string shown(std::string_view line) {
  constexpr std::size_t longest = 60;
  std::string text = "'";
  for (const char c : line.substr(0, longest)) text += c >= ' ' && c <= '~' ? c : '?';
  return text.append(line.size() > longest ? "…'" : "'");
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
  return line;
}

/// Without what mailers put before a line that they quote.
std::string_view unquoted(std::string_view line) {
  return line.substr(std::min(line.find_first_not_of("> |\t"), line.size()));
}

/// The format of a text: the first of whose registers a line is, or else the first of whose headings.
const Format* recognise(std::string_view text) {
  const Format* heading = nullptr;
  while (!text.empty()) {
    const std::string_view line = unquoted(take_line(text));
    for (const Format& format : formats) {
      Memory memory;
      const Line::Kind kind = format.read(line, memory).kind;
      if (kind == Line::Kind::entry || kind == Line::Kind::part) return &format;
      if (kind == Line::Kind::cpu && heading == nullptr) heading = &format;
    }
  }
  return heading;
}

tl::unexpected<DumpError> error(u32 line, std::string message) {
  return tl::unexpected(DumpError{line, std::move(message)});
}

std::string name_of(const Entry& entry) {
  const auto hex = [](u32 value) {
    char text[8];
    return "0x" + std::string(text, std::to_chars(text, std::end(text), value, 16).ptr);
  };
  return "leaf " + hex(entry.leaf) + ", sub-leaf " + hex(entry.subleaf.value_or(0));
}

/// Puts an entry where it belongs; false: what is there says otherwise. Where a format leaves sub-leaves out, a leaf
/// that is repeated is its next one; leaf 0 again is another processor's.
bool put(CpuidDump& dump, Entry entry) {
  if (dump.cpus.empty()) dump.cpus.emplace_back();
  const auto has = [&](u32 subleaf) { return dump.cpus.back().table.leaves().contains({entry.leaf, subleaf}); };
  u32 subleaf = entry.subleaf.value_or(0);
  if (!entry.subleaf && has_subleaves(entry.leaf)) {
    const auto& leaves = dump.cpus.back().table.leaves();
    const auto next = leaves.upper_bound({entry.leaf, ~u32{0}});
    if (next != leaves.begin() && std::prev(next)->first.first == entry.leaf)
      subleaf = std::prev(next)->first.second + 1;
  }
  if (has(subleaf)) {
    const bool same = dump.cpus.back().table.look(entry.leaf, subleaf).regs == entry.regs;
    if (entry.leaf != leaf::basic_max || subleaf != 0) return same;
    if (entry.subleaf && same) return true;
    dump.cpus.push_back({dump.cpus.back().number + 1, {}});
  }
  dump.cpus.back().table.set(entry.leaf, subleaf, entry.regs);
  return true;
}

}  // namespace

bool is_cpuid_dump(std::string_view text) { return recognise(text) != nullptr; }

tl::expected<CpuidDump, DumpError> read_cpuid_dump(std::string_view text) {
  const Format* const format = recognise(text);
  if (format == nullptr) {
    const std::string found = text.empty() ? "an empty file" : shown(take_line(text));
    return error(
        1, "found " + found +
               ", expected the output of 'cpuid -r', 'xen-cpuid -p' or test-sgx, or a dump of AIDA64 or InstLatX64");
  }
  CpuidDump dump;
  Memory memory;
  u32 number = 0;
  std::string begun;  // lines of an entry that goes on
  u32 began = 0;
  bool ended = false;
  while (!text.empty() && !ended) {
    ++number;
    const std::string_view line = take_line(text);
    if (begun.empty()) began = number;
    const std::string whole = begun.empty() ? std::string(unquoted(line)) : begun + " " + std::string(unquoted(line));
    const Line read = format->read(whole, memory);
    const bool goes_on = read.kind == Line::Kind::part && !text.empty() && !unquoted(line).empty();
    begun = goes_on ? whole : "";
    if (goes_on) continue;
    switch (read.kind) {
      case Line::Kind::other: break;
      case Line::Kind::end: ended = true; break;
      case Line::Kind::part:
      case Line::Kind::wrong:
        if (read.digits != 0)
          return error(began,
                       "found " + std::to_string(read.digits) + " of a register's eight digits in " + shown(whole));
        return error(began, "found " + shown(whole) + ", expected " + format->expected);
      case Line::Kind::cpu:
        // A header without leaves is another program's table.
        if (!dump.cpus.empty() && dump.cpus.back().table.leaves().empty()) dump.cpus.pop_back();
        dump.cpus.push_back({read.cpu, {}});
        break;
      case Line::Kind::entry:
        if (!put(dump, read.entry))
          return error(number, "found " + name_of(read.entry) + " again, expected each once for a processor");
        break;
    }
  }
  if (!dump.cpus.empty() && dump.cpus.back().table.leaves().empty()) dump.cpus.pop_back();
  if (dump.cpus.empty()) return error(number, std::string("found no registers, expected ") + format->expected);
  return dump;
}

std::vector<u32> sgx_disagreements(const CpuidDump& dump) {
  const auto sgx_of = [](const CpuidTable& table) {
    std::map<std::pair<u32, u32>, CpuidRegs> leaves;
    for (const auto& [where, regs] : table.leaves()) {
      if (where.first == leaf::sgx) leaves.emplace(where, regs);
    }
    constexpr u32 sgx = 1 << 2, sgx_lc = 1 << 30, sgx_keys = 1 << 1;
    const auto structured = table.leaves().find({leaf::features, 0});
    if (structured != table.leaves().end()) {
      const CpuidRegs& r = structured->second;
      leaves[structured->first] = {0, r.ebx & sgx, r.ecx & sgx_lc, r.edx & sgx_keys};
    }
    return leaves;
  };
  std::vector<u32> numbers;
  for (const DumpedCpu& cpu : dump.cpus) {
    if (sgx_of(cpu.table) != sgx_of(dump.cpus.front().table)) numbers.push_back(cpu.number);
  }
  return numbers;
}

}  // namespace cloister::policy
