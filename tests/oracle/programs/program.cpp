// Programs from the oracle's forms: which instructions, and where their branches lead.
#include "program.hpp"

#include <fmt/format.h>

#include <cstring>
#include <set>

#include "arch/sizes.hpp"

namespace cloister::programs {

using oracle::Form;
using oracle::Instruction;

Forms::Forms() {
  const auto all = oracle::enumerate_forms(true, [](ZydisMnemonic) { return true; });
  for (const oracle::Family& family : oracle::families()) {
    std::set<ZydisMnemonic> own;
    for (const silicon::Row& row : family.rows()) own.insert(row.mnemonic);
    std::vector<Form> forms;
    for (const auto& [key, form] : all) {
      if (own.contains(form.mnemonic)) forms.push_back(form);
    }
    if (forms.empty()) continue;
    const std::string_view name = family.name;
    const bool common = name == "integer" || name == "bit" || name == "branch" || name == "stack" || name == "sse";
    for (unsigned times = 0; times < (common ? 6 : 1); ++times) lists_.push_back(families_.size());
    families_.push_back(std::move(forms));
  }
}

const Form& Forms::any(Random& random) const {
  const std::vector<Form>& family = families_[lists_[random.below(lists_.size())]];
  return family[random.below(family.size())];
}

u64 Program::after(u64 rip) const {
  for (const u64 start : starts) {
    if (start > rip) return start;
  }
  return end();
}

namespace {

/// A relative branch leads to one of the program's own instructions, as far as its displacement reaches.
void turn_inwards(std::span<std::byte> code, const Instruction& instruction, u64 at, const std::vector<u64>& starts,
                  Random& random) {
  for (const auto& imm : instruction.info.raw.imm) {
    if (imm.size == 0 || !imm.is_relative) continue;
    const i64 distance = static_cast<i64>(starts[random.below(starts.size())] - (at + instruction.length()));
    if (imm.size == 8 && (distance < -128 || distance > 127)) continue;
    std::memcpy(&code[at - sandbox::instruction + imm.offset], &distance, imm.size / 8);
  }
}

}  // namespace

Program make_program(const Forms& forms, Random& random) {
  Program program;
  std::vector<Instruction> instructions;
  const u64 wanted = 3 + random.below(38);
  u64 at = sandbox::instruction;
  while (instructions.size() < wanted) {
    const Form& form = forms.any(random);
    Instruction instruction;
    if (!oracle::vary(form.encodings[random.below(form.encodings.size())], random, instruction)) continue;
    if (oracle::key_of(instruction).empty()) continue;
    program.starts.push_back(at);
    const auto bytes = std::as_bytes(instruction.code());
    program.code.insert(program.code.end(), bytes.begin(), bytes.end());
    at += instruction.length();
    instructions.push_back(instruction);
  }
  program.starts.push_back(at);
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    if (random.percent(95)) turn_inwards(program.code, instructions[i], program.starts[i], program.starts, random);
    program.text += fmt::format("  {:x}: ", program.starts[i]);
    for (u64 n = program.starts[i]; n < program.starts[i + 1]; ++n)
      program.text += fmt::format("{:02x}", static_cast<u8>(program.code[n - sandbox::instruction]));
    program.text += "  " + instructions[i].text() + "\n";
  }
  return program;
}

u64 data_address(Random& random) {
  const u64 page = sandbox::data + random.below(sandbox::data_bytes / arch::page_size + 1) * arch::page_size;
  if (random.percent(60)) return page + random.below(64) - 32;
  return sandbox::data + random.below(sandbox::data_bytes);
}

}  // namespace cloister::programs
