// Random programs on two engines: blocks of 3 to 40 of all instructions that the dispatcher knows, with memory operands
// at the borders of pages of which some are read only or not there, with branches among themselves, in slices of random
// length. After each slice registers, flags, FPU, exits and counts must be equal, and at the end memory, too.
//
// CLOISTER_PROGRAMS sets how many programs are run, CLOISTER_PROGRAMS_SEED the first one's seed; a failure names its
// own. CLOISTER_FULL: many more.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "arch/sizes.hpp"
#include "machine.hpp"
#include "program.hpp"
#include "silicon/backend.hpp"
#include "silicon/engine/compiler_options.hpp"

namespace cloister::programs {
namespace {

using silicon::EngineKind;

u64 setting(const char* name, u64 otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

vmx::GeneralRegs random_registers(Random& random) {
  vmx::GeneralRegs general;
  for (u64& reg : general.gpr) {
    const u64 kind = random.below(10);
    reg = kind < 6 ? data_address(random) : kind < 8 ? random.below(64) : random.integer();
  }
  general.gpr[arch::rsp] = data_address(random) & ~u64{7};
  general.rip = sandbox::instruction;
  general.rflags = arch::rflags::fixed1 | arch::rflags::if_ | (random.next() & arch::rflags::status);
  if (random.percent(10)) general.rflags |= arch::rflags::df;
  return general;
}

vmx::FxsaveImage random_fpu(Random& random) {
  oracle::FpuImage image;
  if (random.percent(20)) image.control = static_cast<u16>(0x340 | random.below(64) | random.below(4) << 10);
  if (random.percent(20)) image.mxcsr = static_cast<u32>(random.below(64) << 7 | random.below(4) << 13);
  image.status = static_cast<u16>(random.below(8) << 11);
  image.valid = static_cast<u8>(random.next());
  for (auto& slot : image.st) {
    const Random::Extended value = random.float80();
    slot.mantissa = value.mantissa;
    slot.sign_exponent = value.sign_exponent;
  }
  for (auto& xmm : image.xmm) {
    const u64 kind = random.below(3);
    for (u64& half : xmm)
      half = kind == 0   ? random.float64()
             : kind == 1 ? u64{random.float32()} << 32 | random.float32()
                         : random.integer();
  }
  image.mxcsr_mask = 0;  // reserved when it is loaded
  return std::bit_cast<vmx::FxsaveImage>(image);
}

class Pair {
 public:
  Pair(const vmx::Backend& first, const vmx::Backend& second) : first_(first), second_(second) {}

  void write(u64 linear, std::span<const std::byte> bytes) {
    first_.write(linear, bytes);
    second_.write(linear, bytes);
  }
  void reset(Random& random) {
    std::array<Access, sandbox::data_bytes / arch::page_size> data{};
    for (Access& access : data) {
      const u64 kind = random.below(8);
      access = kind == 0 ? Access::none : kind == 1 ? Access::read : Access::write;
    }
    const bool writes_code = random.percent(10);
    const vmx::GeneralRegs general = random_registers(random);
    const vmx::FxsaveImage fpu = random_fpu(random);
    first_.reset(general, fpu, data, writes_code);
    second_.reset(general, fpu, data, writes_code);
  }
  /// Runs the program to its end, or until enough was seen of it. What was different; empty: nothing.
  std::string run(const Program& program, Random& random) {
    constexpr unsigned most_slices = 40;
    constexpr u64 most_instructions = 2000;
    u64 left = most_instructions;
    for (unsigned slices = 0; slices < most_slices && left != 0; ++slices) {
      const u64 budget = random.percent(50) ? left : 1 + random.below(std::min<u64>(left, 60));
      vmx::ExitReason reason{}, other{};
      const u64 rip = first_.general().rip;
      lockstep::Sight one = first_.run(budget, reason), two = second_.run(budget, other);
      if (one != two)
        return fmt::format("a slice of {} from {:#x} on, the first ended with {}{}", budget, rip, vmx::name_of(reason),
                           lockstep::differences(one, two));
      instructions_ += one[lockstep::Seen::instructions] - last_;
      left -= std::min(left, one[lockstep::Seen::instructions] - last_);
      last_ = one[lockstep::Seen::instructions];
      if (reason == vmx::ExitReason::preemption_timer) continue;
      if (reason == vmx::ExitReason::triple_fault) break;
      ++exits_;
      const u64 next = program.after(one[lockstep::Seen::rip]);
      if (next == program.end()) break;
      first_.go_on(next);
      second_.go_on(next);
    }
    return first_.memory_hash() == second_.memory_hash() ? "" : "memory";
  }
  u64 instructions() const { return instructions_; }
  u64 exits() const { return exits_; }

 private:
  Machine first_, second_;
  u64 last_ = 0, instructions_ = 0, exits_ = 0;
};

struct Tested {
  EngineKind kind;
  u32 entries;  ///< before a block is translated: after some, with those that it leads to
};

std::string name_of(const Tested& tested) {
  for (const silicon::EngineName& name : silicon::engine_names) {
    if (name.kind == tested.kind) return std::string(name.name) + (tested.entries == 0 ? "" : "_later");
  }
  return "unknown";
}

class Programs : public testing::TestWithParam<Tested> {};

TEST_P(Programs, EndAsOnTheInterpreter) {
  const vmx::Backend* const other = silicon::find_backend(GetParam().kind);
  if (other == nullptr) GTEST_SKIP() << "there is no " << name_of(GetParam()) << " here";
  silicon::set_compiler_options({.entries = GetParam().entries});
  const u64 count = setting("CLOISTER_PROGRAMS", std::getenv("CLOISTER_FULL") != nullptr ? 1'000'000 : 20'000);
  const u64 first_seed = setting("CLOISTER_PROGRAMS_SEED", 0x5eed'c105'7e12'0002);
  constexpr unsigned repeats = 3;  // with other registers
  const Forms forms;
  Pair pair(silicon::backend(), *other);
  std::vector<std::byte> code(arch::page_size, std::byte{0xcc}), data(sandbox::data_bytes);
  for (u64 n = 0; n < count && !HasFailure(); ++n) {
    Random random(first_seed + n);
    const Program program = make_program(forms, random);
    std::ranges::fill(code, std::byte{0xcc});
    std::ranges::copy(program.code, &code[sandbox::instruction - sandbox::code]);
    for (unsigned repeat = 0; repeat < repeats && !HasFailure(); ++repeat) {
      // Only what may have been written: blocks stay where nothing was.
      if (repeat == 0) pair.write(sandbox::code, code);
      for (std::size_t at = 0; at < data.size(); at += 8) {
        const u64 noise = random.percent(30) ? data_address(random) : random.next();
        std::memcpy(&data[at], &noise, sizeof noise);
      }
      pair.write(sandbox::data, data);
      pair.reset(random);
      EXPECT_EQ(pair.run(program, random), "")
          << "CLOISTER_PROGRAMS=1 CLOISTER_PROGRAMS_SEED=" << first_seed + n << ", run " << repeat << ":\n"
          << program.text;
    }
  }
  fmt::print("{}: {} programs, {} instructions, {} exits\n", name_of(GetParam()), count, pair.instructions(),
             pair.exits());
  EXPECT_GT(pair.instructions(), 10 * count) << "most of them do something before they fault";
}

INSTANTIATE_TEST_SUITE_P(Engines, Programs,
                         testing::Values(Tested{EngineKind::checked, 0}, Tested{EngineKind::compiler, 0},
                                         Tested{EngineKind::compiler, 2}),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace cloister::programs
