// "LEAF[,SUBLEAF]:REGISTER=BITS[,REGISTER=BITS]…". Only what is a feature has a bit that can be changed: other bits are
// parts of numbers.
#include "config/cpuid_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "arch/try.hpp"
#include "policy/leaves.hpp"
#include "text/shown.hpp"
#include "text/trimmed.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack {

namespace {

using Overrides = std::vector<policy::CpuidOverride>;
using Refused = tl::unexpected<std::string>;

constexpr std::array<std::string_view, 4> registers{"eax", "ebx", "ecx", "edx"};  // in the order of CpuidReg
constexpr std::size_t register_bits = 32;

/// Takes what is in front of the first `mark` off `text`; all of it if there is none.
std::string_view taken_until(std::string_view& text, char mark) {
  const std::size_t end = text.find(mark);
  const std::string_view part = trimmed(text.substr(0, end));
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

std::optional<u32> number_in(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  return whole_number<u32>(text, hex ? 16 : 10);
}

const policy::Feature* feature_at(const policy::CpuidBit& bit) {
  const auto& all = policy::features();
  const auto found = std::ranges::find_if(all, [&](const policy::CpuidBit& other) { return other == bit; });
  return found == all.end() ? nullptr : &*found;
}

tl::expected<void, std::string> read_register(policy::CpuidBit bit, std::string_view bits, Overrides& to) {
  if (bits.size() != register_bits || bits.find_first_not_of("01xks") != std::string_view::npos)
    return Refused(fmt::format("found {}, expected 32 letters of 0, 1, x, k, s, for bit 31 first", shown(bits)));
  for (std::size_t i = 0; i < register_bits; ++i) {
    if (bits[i] != '0' && bits[i] != '1') continue;
    bit.bit = static_cast<decltype(bit.bit)>(register_bits - 1 - i);
    const policy::Feature* const feature = feature_at(bit);
    if (feature == nullptr)
      return Refused(fmt::format("bit {} of {} in leaf {:#x} is no single feature, and only these can be set here",
                                 register_bits - 1 - i, registers[static_cast<std::size_t>(bit.reg)], bit.leaf));
    to.push_back({std::string(feature->name), bits[i] == '1'});
  }
  return {};
}

}  // namespace

tl::expected<Overrides, std::string> read_cpuid_registers(std::string_view text) {
  const std::string_view whole = text;
  std::string_view where = taken_until(text, ':');
  const auto leaf = number_in(taken_until(where, ','));
  const auto subleaf = where.empty() ? std::optional<u32>(0) : number_in(trimmed(where));
  if (!leaf || !subleaf || trimmed(text).empty())
    return Refused(fmt::format("found {}, expected LEAF:REGISTER=BITS or LEAF,SUBLEAF:REGISTER=BITS", shown(whole)));
  // A leaf without sub-leaves answers for every one.
  policy::CpuidBit bit{*leaf, policy::has_subleaves(*leaf) ? *subleaf : 0, policy::CpuidReg::eax, 0};
  Overrides overrides;
  while (!text.empty()) {
    std::string_view item = taken_until(text, ',');
    const std::string_view name = taken_until(item, '=');
    const auto found = std::ranges::find(registers, name);
    if (found == registers.end())
      return Refused(fmt::format("found register {}, expected eax, ebx, ecx or edx", shown(name)));
    bit.reg = static_cast<policy::CpuidReg>(found - registers.begin());
    TRY(read_register(bit, trimmed(item), overrides));
  }
  return overrides;
}

}  // namespace cloister::toolstack
