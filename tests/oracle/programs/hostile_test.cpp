// Hostile code: four processors at CPL 0 and 3 run random programs that write into their own code, into each other's,
// and so into what then is no program any more. In turns, each in slices of random length, they must do the same on
// every engine; at once, on four threads, they must come to an end, whatever they do.
//
// CLOISTER_HOSTILE sets how many rounds are played, CLOISTER_HOSTILE_SEED the first one's seed; a failure names its
// own. CLOISTER_FULL: until ten million blocks have been translated.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "arch/sizes.hpp"
#include "silicon/backend.hpp"
#include "silicon/engine/compiler_options.hpp"
#include "town.hpp"

namespace cloister::programs {
namespace {

using silicon::EngineKind;

constexpr u64 wanted_blocks = 10'000'000;

u64 from_environment(const char* name, u64 otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}
bool is_full() { return std::getenv("CLOISTER_FULL") != nullptr; }

/// A town's programs, and what its processors are told when they stop.
class Plot {
 public:
  Plot(const Forms& forms, u64 seed) : random_(seed) {
    for (Program& p : programs_) p = make_program(forms, random_);
  }

  Town::Start start() {
    Town::Start s;
    s.data.resize(sandbox::data_bytes);
    fill(s.data);
    for (unsigned n = 0; n < Town::processors; ++n) {
      s.code[n].resize(arch::page_size, std::byte{0xcc});
      if (random_.percent(20)) fill(s.code[n]);
      std::ranges::copy(programs_[n].code, &s.code[n][sandbox::instruction - sandbox::code]);
      s.cpl[n] = random_.percent(50) ? 0 : 3;
      s.general[n] = registers(n);
    }
    return s;
  }
  unsigned processor() { return static_cast<unsigned>(random_.below(Town::processors)); }
  u64 budget() { return random_.percent(10) ? 400 : 1 + random_.below(60); }
  /// In the program of any processor; mostly pointers to data and code.
  vmx::GeneralRegs registers(unsigned program) {
    vmx::GeneralRegs general;
    for (u64& reg : general.gpr) reg = value();
    general.gpr[arch::rsp] = (random_.percent(90) ? data_address(random_) : value()) & ~u64{7};
    general.rflags = arch::rflags::fixed1 | arch::rflags::if_ | (random_.next() & arch::rflags::status);
    if (random_.percent(10)) general.rflags |= arch::rflags::df;
    general.rip = place(program);
    return general;
  }
  u64 place(unsigned program) {
    const auto& starts = programs_[program].starts;
    return starts[random_.below(starts.size())] - sandbox::code + Town::code_page(program);
  }
  std::string text() const {
    std::string all;
    for (unsigned n = 0; n < Town::processors; ++n)
      all += fmt::format("processor {}, at {:#x}:\n{}", n, Town::code_page(n), programs_[n].text);
    return all;
  }

 private:
  u64 value() {
    const u64 kind = random_.below(20);
    if (kind < 9) return data_address(random_);
    if (kind < 15) return Town::code_page(processor()) + 0x7e0 + random_.below(0x180);
    return kind < 18 ? random_.below(64) : random_.integer();
  }
  void fill(std::span<std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
      const u64 noise = random_.percent(30) ? value() : random_.next();
      std::memcpy(&bytes[at], &noise, sizeof noise);
    }
  }

  Random random_;
  std::array<Program, Town::processors> programs_;
};

struct Tested {
  EngineKind kind;
  u32 entries;
};
std::string name_of(const Tested& tested) {
  if (tested.kind == EngineKind::checked) return "checked";
  return tested.entries == 0 ? "compiler" : "compiler_later";
}

class Hostile : public testing::TestWithParam<Tested> {
 protected:
  void SetUp() override {
    silicon::set_compiler_options({.entries = GetParam().entries});
    backend = silicon::find_backend(GetParam().kind);
    if (backend == nullptr) GTEST_SKIP() << "there is no " << name_of(GetParam()) << " here";
  }
  void TearDown() override { silicon::set_compiler_options({}); }
  bool enough(u64 rounds, u64 otherwise, u64 blocks) const {
    if (std::getenv("CLOISTER_HOSTILE") != nullptr) return rounds >= from_environment("CLOISTER_HOSTILE", 0);
    if (!is_full()) return rounds >= otherwise;
    // What is translated later is seldom translated before it is written to.
    const bool counts = GetParam().kind == EngineKind::compiler && GetParam().entries == 0;
    return counts ? blocks >= wanted_blocks : rounds >= 50 * otherwise;
  }

  const vmx::Backend* backend = nullptr;
  const Forms forms;
  const u64 first_seed = from_environment("CLOISTER_HOSTILE_SEED", 0x5eed'0bad'c0de'0001);
};

TEST_P(Hostile, CodeDoesTheSameOnEveryEngine) {
  Town one(silicon::backend()), two(*backend);
  u64 rounds = 0, exits = 0;
  for (; !enough(rounds, 400, two.blocks()) && !HasFailure(); ++rounds) {
    Plot plot(forms, first_seed + rounds);
    const Town::Start start = plot.start();
    one.reset(start);
    two.reset(start);
    std::string difference;
    for (unsigned slice = 0; slice < 100 && difference.empty(); ++slice) {
      const unsigned n = plot.processor();
      const u64 budget = plot.budget();
      vmx::ExitReason reason{}, other{};
      lockstep::Sight first = one.run(n, budget, reason), second = two.run(n, budget, other);
      if (first != second)
        difference = fmt::format("slice {}, of processor {} and {} instructions, ended with {}{}", slice, n, budget,
                                 vmx::name_of(reason), lockstep::differences(first, second));
      if (reason == vmx::ExitReason::preemption_timer) continue;
      ++exits;
      const vmx::GeneralRegs next = plot.registers(plot.processor());
      one.go_on(n, next);
      two.go_on(n, next);
    }
    if (difference.empty() && one.memory_hash() != two.memory_hash()) difference = "memory";
    EXPECT_EQ(difference, "") << "CLOISTER_HOSTILE=1 CLOISTER_HOSTILE_SEED=" << first_seed + rounds << ":\n"
                              << plot.text();
  }
  fmt::print("{}: {} rounds, {} instructions, {} exits, {} blocks translated\n", name_of(GetParam()), rounds,
             one.instructions(), exits, two.blocks());
  EXPECT_GT(one.instructions(), 200 * rounds);
}

TEST_P(Hostile, ProcessorsComeToAnEnd) {
  Town town(*backend);
  u64 rounds = 0;
  for (; !enough(rounds, 40, town.blocks()); ++rounds) {
    Plot plot(forms, first_seed + rounds);
    town.reset(plot.start());
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < Town::processors; ++n) {
      threads.emplace_back([&town, n, own = Plot(forms, first_seed + rounds)]() mutable {
        for (unsigned slice = 0; slice < 50 * (n + 1); ++slice) own.budget();
        for (unsigned slice = 0; slice < 200; ++slice) {
          vmx::ExitReason reason{};
          (void)town.run(n, own.budget(), reason);
          if (slice % 16 == 0) town.kick(own.processor());
          if (reason != vmx::ExitReason::preemption_timer) town.go_on(n, own.registers(own.processor()));
        }
      });
    }
    for (std::thread& t : threads) t.join();
  }
  fmt::print("{}: {} rounds on four threads, {} blocks translated\n", name_of(GetParam()), rounds, town.blocks());
}

INSTANTIATE_TEST_SUITE_P(Engines, Hostile,
                         testing::Values(Tested{EngineKind::checked, 0}, Tested{EngineKind::compiler, 0},
                                         Tested{EngineKind::compiler, 2}),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace cloister::programs
