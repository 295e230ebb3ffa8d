#include "sights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace cloister::lockstep {

namespace {

constexpr std::array<const char*, static_cast<std::size_t>(Seen::count)> names{
    "processor", "instructions", "exit",         "qualification", "linear", "physical", "instruction length",
    "enclave",   "interruption", "vectoring",    "rip",           "rflags", "rax",      "rcx",
    "rdx",       "rbx",          "rsp",          "rbp",           "rsi",    "rdi",      "r8",
    "r9",        "r10",          "r11",          "r12",           "r13",    "r14",      "r15",
    "system's",  "fpu's",        "memory's hash"};

u64 packed(const vmx::Event& event) {
  return u64{event.error} << 32 | u64{event.has_error} << 24 | u64{event.instruction_length} << 16 |
         u64{static_cast<u8>(event.type)} << 8 | event.vector;
}

u64 mix(u64 state, u64 value) {
  state = (state ^ value) * 0x9fb2'1c65'1e98'df25;
  return state ^ (state >> 32);
}

/// Each value by itself: what lies between them in memory is nobody's.
u64 hash_of(const vmx::SystemRegs& regs) {
  u64 h = 1;
  const auto add = [&h](auto... values) { ((h = mix(h, values)), ...); };
  const auto add_segment = [&](const vmx::Segment& s) { add(s.selector, s.base, s.limit, s.attributes); };
  std::ranges::for_each(regs.seg, add_segment);
  add_segment(regs.ldtr);
  add_segment(regs.tr);
  add(regs.gdtr.base, regs.gdtr.limit, regs.idtr.base, regs.idtr.limit);
  add(regs.cr0, regs.cr2, regs.cr3, regs.cr4, regs.cr8, regs.xcr0, regs.efer, regs.dr6, regs.dr7, regs.cpl);
  for (const u64 dr : regs.dr) add(dr);
  return h;
}

std::string describe(const Sight& before, const Sight& first, const Sight& second) {
  Sight then = before, now = first;
  return fmt::format(
      "at instruction {} of processor {}, exit {}; the last that was equal: instruction {} of processor {}, rip "
      "{:#x}{}",
      now[Seen::instructions], now[Seen::processor], vmx::name_of(static_cast<vmx::ExitReason>(now[Seen::exit])),
      then[Seen::instructions], then[Seen::processor], then[Seen::rip], differences(first, second));
}

}  // namespace

std::string differences(const Sight& first, const Sight& second) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (first.values[i] != second.values[i])
      text += fmt::format("\n  {}: {:#x} in the first run, {:#x} in the second", names[i], first.values[i],
                          second.values[i]);
  }
  return text;
}

u64 hash(std::span<const std::byte> bytes) {
  // Four rows at once: a multiplication waits for the one before it.
  std::array<u64, 4> rows{1, 2, 3, 4};
  for (std::size_t at = 0; at + sizeof rows <= bytes.size(); at += sizeof rows) {
    std::array<u64, 4> values{};
    std::memcpy(values.data(), &bytes[at], sizeof values);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = mix(rows[i], values[i]);
  }
  for (std::size_t at = bytes.size() / sizeof rows * sizeof rows; at < bytes.size(); ++at)
    rows[0] = mix(rows[0], std::to_integer<u64>(bytes[at]));
  return mix(mix(rows[0], rows[1]), mix(rows[2], rows[3]));
}

Sight sight_of(u32 processor, const vmx::Vcpu& vcpu, const vmx::Exit& exit) {
  Sight sight;
  sight[Seen::processor] = processor;
  sight[Seen::instructions] = vcpu.instructions();
  sight[Seen::exit] = static_cast<u64>(exit.reason);
  sight[Seen::qualification] = exit.qualification;
  sight[Seen::linear] = exit.linear.value;
  sight[Seen::physical] = exit.physical.value;
  sight[Seen::instruction_length] = exit.instruction_length;
  sight[Seen::enclave] = exit.enclave;
  sight[Seen::interruption] = packed(exit.interruption);
  sight[Seen::vectoring] = exit.vectoring ? packed(*exit.vectoring) | u64{1} << 31 : 0;
  const vmx::GeneralRegs general = vcpu.general();
  sight[Seen::rip] = general.rip;
  sight[Seen::rflags] = general.rflags;
  std::ranges::copy(general.gpr, &sight[Seen::gpr]);
  return sight;
}

void look_closely(Sight& sight, const vmx::Vcpu& vcpu) {
  sight[Seen::system] = hash_of(vcpu.system());
  const vmx::FxsaveImage image = vcpu.fpu();
  const vmx::UpperHalves upper = vcpu.upper_halves();
  sight[Seen::fpu] = mix(hash(std::as_bytes(std::span(image))), hash(std::as_bytes(std::span(upper))));
}

void Sights::add(const Sight& sight) {
  if (!second_) return first_.push_back(sight);
  const std::size_t at = (*second_)++;
  if (difference_) return;
  if (at >= first_.size()) {
    difference_ = "the second run goes on where the first had ended";
  } else if (first_[at] != sight) {
    difference_ = describe(at == 0 ? Sight{} : first_[at - 1], first_[at], sight);
  }
}

std::optional<std::string> Sights::difference_at_end() const {
  if (difference_ || second_ == first_.size()) return difference_;
  return fmt::format("the second run ended after {} sights, the first after {}", second_.value_or(0), first_.size());
}

}  // namespace cloister::lockstep
