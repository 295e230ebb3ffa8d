// A form's cases: encodings, twenty states each, both worlds, comparison, report.
#include "oracle/cpu/oracle.hpp"

#include <fmt/format.h>

#include <cstring>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/compare.hpp"
#include "oracle/cpu/exemptions.hpp"
#include "oracle/cpu/vendors.hpp"

namespace cloister::oracle {
namespace {

constexpr unsigned states_per_encoding = 20;
constexpr unsigned reported_mismatches = 3;

u64 hash(const std::string& text) {
  u64 h = 0xcbf2'9ce4'8422'2325;
  for (const char c : text) h = (h ^ static_cast<u8>(c)) * 0x100'0000'01b3;
  return h;
}

std::string hex(std::span<const u8> bytes) {
  std::string text;
  for (const u8 b : bytes) text += fmt::format("{:02x} ", b);
  return text;
}

std::string describe(const State& s) {
  std::string text;
  for (unsigned n = 0; n < 16; ++n) text += fmt::format("{}{:016x}", n % 8 == 0 ? "\n      gpr " : " ", s.gpr[n]);
  text += fmt::format("\n      rflags {:x} fcw {:04x} fsw {:04x} ftw {:02x} mxcsr {:05x}", s.rflags, s.fpu.control,
                      s.fpu.status, s.fpu.valid, s.fpu.mxcsr);
  return text;
}

/// The registers that the instruction names, where they are not general ones.
std::string describe_operands(const Instruction& i, const State& s) {
  std::string text;
  bool x87 = i.info.meta.isa_ext == ZYDIS_ISA_EXT_X87;
  for (const ZydisDecodedOperand& op : i.operands()) {
    if (op.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    const ZydisRegisterClass c = ZydisRegisterGetClass(op.reg.value);
    if (c == ZYDIS_REGCLASS_XMM) {
      const auto id = static_cast<unsigned>(ZydisRegisterGetId(op.reg.value));
      text += fmt::format("\n      xmm{} {:016x}_{:016x}", id, s.fpu.xmm[id][1], s.fpu.xmm[id][0]);
    }
    if (c == ZYDIS_REGCLASS_MMX || c == ZYDIS_REGCLASS_X87) x87 = true;
  }
  for (unsigned k = 0; x87 && k < 8; ++k)
    text += fmt::format("\n      st{} {:04x}:{:016x}", k, s.fpu.st[k].sign_exponent, s.fpu.st[k].mantissa);
  return text;
}

}  // namespace

Oracle::Oracle(u64 seed)
    : seed_(seed), host_(native_), sandbox_{native_.memory(), software_.memory()}, before_(sandbox::bytes) {
  Random random(seed);
  const std::span<u8> all = sandbox_.software;
  std::fill_n(all.begin(), arch::page_size, u8{0xcc});
  for (u64 at = arch::page_size; at < all.size(); at += 8) {
    const u64 noise = random.next();
    std::memcpy(&all[at], &noise, 8);
  }
  auto gdt = descriptor_table();
  host_.correct(gdt);
  std::memcpy(&all[sandbox::tables - sandbox::base], gdt.data(), sizeof gdt);
  std::memset(&all[sandbox::tables - sandbox::base + 0x66], 0xff, 2);  // the task state segment's I/O map base
  std::memcpy(sandbox_.native.data(), all.data(), all.size());
}

bool Oracle::next_instruction(const Form& form, Random& random, Instruction& out) {
  const Encoding& encoding = form.encodings[random.below(form.encodings.size())];
  for (unsigned attempt = 0; attempt < 8; ++attempt) {
    if (vary(encoding, random, out) && excluded(out) == nullptr && key_of(out) == form.key) return true;
  }
  return plain(encoding, out) && excluded(out) == nullptr && key_of(out) == form.key;
}

void Oracle::place(const Instruction& instruction) {
  for (const std::span<u8> world : {sandbox_.native, sandbox_.software}) {
    u8* const at = &world[sandbox::instruction - sandbox::base];
    std::memset(at, 0xcc, 16);
    std::memcpy(at, instruction.bytes.data(), instruction.length());
  }
}

FormResult Oracle::run(const Form& form, unsigned cases) {
  FormResult result;
  Random random(seed_ ^ hash(form.key));
  unsigned failures = 0;
  while (result.cases < cases && result.mismatches < reported_mismatches && failures < 5 * cases + 1000) {
    Instruction instruction;
    if (!next_instruction(form, random, instruction)) {
      ++failures;
      continue;
    }
    place(instruction);
    for (unsigned n = 0; n < states_per_encoding && result.cases < cases; ++n) {
      const State before = make_inputs(instruction, random, sandbox_);
      if (excluded_case(instruction, before) != nullptr) {
        ++failures;
        continue;
      }
      std::memcpy(before_.data(), sandbox_.software.data(), before_.size());
      compare(instruction, before, result);
      if (result.mismatches >= reported_mismatches) break;
    }
    std::memset(sandbox_.native.data(), 0xcc, arch::page_size);
    std::memset(sandbox_.software.data(), 0xcc, arch::page_size);
  }
  return result;
}

std::vector<std::string> Oracle::memory_differences(const Instruction& i, const State& before, const Outcome& native) {
  std::vector<std::string> lines;
  const std::span<u8> theirs = sandbox_.native, ours = sandbox_.software;
  if (std::memcmp(theirs.data(), ours.data(), ours.size()) == 0) return lines;
  const ZydisDecodedOperand* const op = i.memory();
  const bool in_parts = native.vector && stores_in_parts(i);
  u64 operand = 0;
  Ignored ignored{};
  if (op != nullptr) {
    const u64 at = linear_address(before, i, *op);
    ignored = ignored_memory(i);
    operand = at;
    if (undefined_destination(i, before)) ignored = {{{0, op->size / 8u}, {}}};
    if (pushes_half(i)) {
      operand -= sizeof(u32);
      ignored = {{{sizeof(u16), sizeof(u32)}, {}}};
    }
  }
  u64 first = 0;
  for (u64 at = 0; at < ours.size(); ++at) {
    const u64 linear = sandbox::base + at;
    if (theirs[at] == ours[at] || in_parts || is_ignored(ignored, linear - operand)) continue;
    first = linear;
    break;
  }
  if (first != 0) {
    const u64 at = first - sandbox::base, count = std::min<u64>(24, ours.size() - at);
    lines.push_back(fmt::format("memory at {:x}\n        before {}\n        native {}\n        ours   {}", first,
                                hex({&before_[at], count}), hex({&theirs[at], count}), hex({&ours[at], count})));
  }
  return lines;
}

std::optional<Operand> Oracle::settle_order(const Instruction& i, const Outcome& ours, Outcome& native) {
  if (intel_host() || !ours.vector || !native.vector || (native.vector == ours.vector && native.cr2 == ours.cr2))
    return std::nullopt;
  const auto in_world = [&](std::span<u8> world, auto run) {
    return [=, &i](const State& state, std::span<const u8> code) {
      u8* const at = &world[sandbox::instruction - sandbox::base];
      std::memcpy(at, code.data(), code.size());
      const Outcome o = run(state);
      std::memcpy(at, i.bytes.data(), i.length());
      return o;
    };
  };
  const auto theirs =
      reported_first(i, native, in_world(sandbox_.native, [&](const State& s) { return native_.run(s, i.bits64); }));
  const auto mine =
      reported_first(i, ours, in_world(sandbox_.software, [&](const State& s) { return software_.run(s, i.bits64); }));
  if (!theirs || !mine || *theirs == *mine) return std::nullopt;
  native.vector = ours.vector;
  native.error = ours.error;
  native.cr2 = ours.cr2;
  return theirs;
}

Oracle::Compared Oracle::run_native(const Instruction& instruction, const State& before, const Outcome& ours) {
  std::memcpy(sandbox_.native.data(), before_.data(), before_.size());
  Outcome native = native_.run(before, instruction.bits64);
  Compared c;
  c.completed = !native.vector;
  c.faulted_first = settle_order(instruction, ours, native);
  c.differences = differences(instruction, before, native, ours);
  for (std::string& line : memory_differences(instruction, before, native)) c.differences.push_back(std::move(line));
  if (!c.differences.empty() && vendors_differ(instruction, before, native, ours) != nullptr) {
    c.differences.clear();
    c.by_vendor = true;
  }
  return c;
}

/// A difference must come again. A host may disturb a case: its kernel takes the base of GS away at a context switch
/// where it does not know of FSGSBASE, its hypervisor raises #UD for what its own emulator does not know.
void Oracle::compare(const Instruction& instruction, const State& before, FormResult& result) {
  const Outcome ours = software_.run(before, instruction.bits64);
  Compared c = run_native(instruction, before, ours);
  if (!c.differences.empty()) {
    const Compared second = run_native(instruction, before, ours), third = run_native(instruction, before, ours);
    if (second.differences.empty() && third.differences.empty()) {
      ++result.unsteady;
      c = third;
    }
  }
  std::memcpy(sandbox_.software.data(), sandbox_.native.data(), sandbox_.native.size());
  if (c.faulted_first) ++result.faulted_first[static_cast<unsigned>(*c.faulted_first)];
  ++result.cases;
  if (c.by_vendor) ++result.by_vendor;
  if (c.completed) ++result.completed;
  if (c.differences.empty()) return;
  ++result.mismatches;
  result.report += fmt::format("    {}: {}{}{}", hex(instruction.code()), instruction.text(), describe(before),
                               describe_operands(instruction, before));
  if (const ZydisDecodedOperand* const op = instruction.memory()) {
    const u64 at = linear_address(before, instruction, *op);
    result.report += fmt::format("\n      [{:x}]", at);
    if (at >= sandbox::base && at < sandbox::data_end) {
      result.report +=
          fmt::format(" {}", hex({&before_[at - sandbox::base], std::min<u64>(16, sandbox::data_end - at)}));
    }
  }
  for (const std::string& line : c.differences) result.report += "\n      " + line;
  result.report += "\n";
}

}  // namespace cloister::oracle
