// The silicon's door against OpenSSL, each in the same process: bench/sgx runs this and puts the pairs side by side.
//
// Names are WHAT/door and WHAT/raw. Counters: "instructions" are the guest's, "items" the pages or round trips of one
// iteration.
#include <benchmark/benchmark.h>
#include <openssl/evp.h>

#include <cstring>
#include <fstream>

#include "../gcm.hpp"
#include "machine.hpp"

namespace {

using namespace cloister;
using bench::Machine;

constexpr u64 round_trips = 20'000, rounds_of_work = 2'000'000;

Machine& machine() {
  static Machine m;
  return m;
}

/// The machine with its enclave built, for what comes after.
Machine& built() {
  static const bool once = (machine().build(), true);
  static_cast<void>(once);
  return machine();
}

void count(benchmark::State& state, u64 items, u64 instructions = 0) {
  state.counters["items"] = static_cast<double>(items);
  if (instructions != 0) state.counters["instructions"] = static_cast<double>(instructions / state.iterations());
}

// ---- building 64 MiB

void build_door(benchmark::State& state) {
  u64 instructions = 0;
  Machine& m = built();
  for (auto _ : state) {
    state.PauseTiming();
    m.remove();
    state.ResumeTiming();
    const u64 before = m.instructions();
    m.build();
    instructions += m.instructions() - before;
  }
  count(state, bench::measured_bytes().size(), instructions);
}

void build_raw(benchmark::State& state) {
  const std::vector<u8>& bytes = bench::measured_bytes();
  for (auto _ : state) {
    u8 digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr) != 1) std::abort();
    benchmark::DoNotOptimize(digest);
  }
  count(state, bytes.size());
}

// ---- EWB and ELDU

void paging_door(benchmark::State& state) {
  u64 instructions = 0;
  Machine& m = built();
  for (auto _ : state) {
    state.PauseTiming();
    m.block();
    state.ResumeTiming();
    const u64 before = m.instructions();
    m.page();
    instructions += m.instructions() - before;
  }
  count(state, Machine::paged, instructions);
}

void paging_raw(benchmark::State& state) {
  std::vector<u8> pages(Machine::paged * arch::page_size), sealed(pages.size());
  bench::Gcm gcm;
  u64 version = 1;
  u8 tag[bench::Gcm::tag_bytes];
  for (auto _ : state) {
    for (u64 at = 0; at < pages.size(); at += arch::page_size) {
      gcm.seal(version, pages.data() + at, sealed.data() + at, tag);
      gcm.open(version++, pages.data() + at, sealed.data() + at, tag);
    }
  }
  count(state, Machine::paged);
}

// ---- entering, and being inside

void enter_door(benchmark::State& state) {
  u64 instructions = 0;
  Machine& m = built();
  for (auto _ : state) {
    const u64 before = m.instructions();
    m.enter(round_trips, 0);
    instructions += m.instructions() - before;
  }
  count(state, round_trips, instructions);
}

void work_inside(benchmark::State& state) {
  u64 instructions = 0;
  Machine& m = built();
  for (auto _ : state) {
    const u64 before = m.instructions();
    m.enter(1, rounds_of_work);
    instructions += m.instructions() - before;
  }
  count(state, rounds_of_work, instructions);
}

void work_outside(benchmark::State& state) {
  u64 instructions = 0;
  Machine& m = built();
  for (auto _ : state) {
    const u64 before = m.instructions();
    m.work_outside(rounds_of_work);
    instructions += m.instructions() - before;
  }
  count(state, rounds_of_work, instructions);
}

BENCHMARK(build_door)->Name("build/door")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(build_raw)->Name("build/raw")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(paging_door)->Name("paging/door")->Iterations(20)->Unit(benchmark::kMillisecond);
BENCHMARK(paging_raw)->Name("paging/raw")->Iterations(20)->Unit(benchmark::kMillisecond);
BENCHMARK(enter_door)->Name("enter/door")->Iterations(4)->Unit(benchmark::kMillisecond);
BENCHMARK(work_inside)->Name("work/door")->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(work_outside)->Name("work/raw")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace

/// With `--sigstruct FILE` alone: writes the SIGSTRUCT of the enclave, for the guest's program.
int main(int count, char** words) {
  if (count == 3 && std::string(words[1]) == "--sigstruct") {
    std::ofstream(words[2], std::ios::binary)
        .write(reinterpret_cast<const char*>(&bench::sigstruct()), sizeof(arch::Sigstruct));
    return 0;
  }
  benchmark::Initialize(&count, words);
  if (benchmark::ReportUnrecognizedArguments(count, words)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
