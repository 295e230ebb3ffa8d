// Two formats, line by line. `cpuid -r`:
//
//     CPU 0:
//        0x00000007 0x00: eax=0x00000000 ebx=0x029c67af ecx=0x00000000 edx=0xbc002e00
//
// AIDA64 and InstLatX64, EAX to EDX, with other text around it that says nothing of CPUID:
//
//     ------[ Logical CPU #0 ]------            or   ------[ CPUID Registers / Logical CPU #0 ]------
//     CPU#000 AffMask: 0x0000000000000001       (InstLatX64)
//     CPUID 00000007: 00000000-029C67AF-00000000-BC002E00 [SL 00]
#include "policy/cpuid_dump.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

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
  u32 leaf, subleaf;
  CpuidRegs regs;
};

/// What a format makes of a line.
struct Line {
  enum class Kind : u8 { other, cpu, entry, wrong } kind = Kind::other;
  u32 cpu = 0;
  Entry entry{};
};
constexpr Line other{}, wrong{.kind = Line::Kind::wrong};

struct Format {
  const char* expected;  ///< what a line of registers looks like
  bool text_between;     ///< other lines may stand in the dump
  Line (*read)(std::string_view line);
};

// ------------------------------------------------------------------------------------------------ cpuid -r

Line read_raw_line(std::string_view text) {
  Reader line(text);
  line.blanks();
  if (line.rest().empty()) return other;
  if (line.literal("CPU")) {
    Line cpu{.kind = Line::Kind::cpu};
    if (line.literal(":")) return line.rest().empty() ? cpu : wrong;
    if (!line.blanks()) return wrong;
    const auto number = line.number(10);
    if (!number || line.rest() != ":") return wrong;
    cpu.cpu = *number;
    return cpu;
  }
  const auto hex = [&](std::string_view before) -> std::optional<u32> {
    if (!line.literal(before) || !line.literal("0x")) return std::nullopt;
    return line.number(16);
  };
  const auto leaf = hex("");
  const auto subleaf = hex(" ");
  if (!leaf || !subleaf || !line.literal(":")) return wrong;
  Line result{.kind = Line::Kind::entry, .entry = {*leaf, *subleaf, {}}};
  CpuidRegs& r = result.entry.regs;
  const std::pair<std::string_view, u32*> registers[] = {
      {" eax=", &r.eax}, {" ebx=", &r.ebx}, {" ecx=", &r.ecx}, {" edx=", &r.edx}};
  for (const auto& [name, value] : registers) {
    const auto read = hex(name);
    if (!read) return wrong;
    *value = *read;
  }
  line.blanks();
  return line.rest().empty() ? result : wrong;
}

// ------------------------------------------------------------------------------------------------ AIDA64, InstLatX64

/// The number of a header's processor, if it is one.
std::optional<u32> header_cpu(std::string_view text) {
  Reader line(text);
  if (line.literal("CPU#")) return line.number(10);
  constexpr std::string_view mark = "Logical CPU #";
  if (!text.starts_with("------[") || text.find(mark) == std::string_view::npos) return std::nullopt;
  Reader number(text.substr(text.find(mark) + mark.size()));
  return number.number(10);
}

/// "CPUID" and eight digits; the reports have headings such as "CPUID Revision" too.
bool starts_entry(std::string_view text) {
  return text.starts_with("CPUID ") && text.size() > 6 &&
         (std::string_view("0123456789").find(text[6]) != std::string_view::npos || text.starts_with("CPUID C0000"));
}

Line read_aida_line(std::string_view text) {
  if (const auto cpu = header_cpu(text)) return {.kind = Line::Kind::cpu, .cpu = *cpu};
  if (!starts_entry(text)) return other;
  Reader line(text);
  line.literal("CPUID ");
  const auto leaf = line.number(16);
  if (!leaf || !line.literal(": ")) return wrong;
  Line result{.kind = Line::Kind::entry, .entry = {*leaf, 0, {}}};
  CpuidRegs& r = result.entry.regs;
  u32* const registers[] = {&r.eax, &r.ebx, &r.ecx, &r.edx};
  for (u32* const value : registers) {
    if (value != &r.eax && !line.literal("-")) return wrong;
    const std::size_t before = line.rest().size();
    const auto read = line.number(16);
    constexpr std::size_t digits = 8;
    if (!read || before - line.rest().size() != digits) return wrong;
    *value = *read;
  }
  // Notes in brackets follow; the sub-leaf is one.
  line.blanks();
  if (line.literal("[SL ")) {
    const auto subleaf = line.number(16);
    if (!subleaf || !line.literal("]")) return wrong;
    result.entry.subleaf = *subleaf;
  } else if (!line.rest().empty() && !line.literal("[")) {
    return wrong;
  }
  return result;
}

constexpr Format formats[] = {
    {"'0xLEAF 0xSUBLEAF: eax=0x… ebx=0x… ecx=0x… edx=0x…'", false, read_raw_line},
    {"'CPUID LEAF: EAX-EBX-ECX-EDX [SL NN]' with eight digits each", true, read_aida_line},
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

/// The format of a text: the first whose header or registers a line is.
const Format* recognise(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    for (const Format& format : formats) {
      const Line::Kind kind = format.read(line).kind;
      if (kind == Line::Kind::cpu || kind == Line::Kind::entry) return &format;
    }
  }
  return nullptr;
}

tl::unexpected<DumpError> error(u32 line, std::string message) {
  return tl::unexpected(DumpError{line, std::move(message)});
}

std::string name_of(const Entry& entry) {
  const auto hex = [](u32 value) {
    char text[8];
    return "0x" + std::string(text, std::to_chars(text, std::end(text), value, 16).ptr);
  };
  return "leaf " + hex(entry.leaf) + ", sub-leaf " + hex(entry.subleaf);
}

}  // namespace

bool is_cpuid_dump(std::string_view text) { return recognise(text) != nullptr; }

tl::expected<CpuidDump, DumpError> read_cpuid_dump(std::string_view text) {
  const Format* const format = recognise(text);
  if (format == nullptr) {
    const std::string found = text.empty() ? "an empty file" : shown(take_line(text));
    return error(1, "found " + found + ", expected the output of 'cpuid -r', or a dump of AIDA64 or InstLatX64");
  }
  CpuidDump dump;
  u32 number = 0;
  while (!text.empty()) {
    ++number;
    const std::string_view line = take_line(text);
    const Line read = format->read(line);
    switch (read.kind) {
      case Line::Kind::other: break;
      case Line::Kind::wrong: return error(number, "found " + shown(line) + ", expected " + format->expected);
      case Line::Kind::cpu:
        // A header without leaves is another program's table.
        if (!dump.cpus.empty() && dump.cpus.back().table.leaves().empty()) dump.cpus.pop_back();
        dump.cpus.push_back({read.cpu, {}});
        break;
      case Line::Kind::entry: {
        if (dump.cpus.empty()) dump.cpus.emplace_back();
        CpuidTable& table = dump.cpus.back().table;
        const Entry& entry = read.entry;
        if (table.leaves().contains({entry.leaf, entry.subleaf}))
          return error(number, "found " + name_of(entry) + " again, expected each once for a processor");
        table.set(entry.leaf, entry.subleaf, entry.regs);
        break;
      }
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
