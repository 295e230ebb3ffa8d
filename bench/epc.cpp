// How long the accounts of a large machine's EPC take, and how much memory: two packages of 512 GiB and 1,000 domains.
// The EPC itself does not exist here; only frame numbers do.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <random>

#include "machine/epc/machine_epc.hpp"

namespace {

using namespace cloister;
using namespace cloister::toolstack;

constexpr u64 pages_per_gib = u64{1} << 18;
constexpr u64 package_pages = 512 * pages_per_gib;
constexpr u16 domains = 1000;

MachineEpc machine() {
  MachineEpcSpec spec{.sections = {}, .packages = 2};
  for (u32 package = 0; package < 2; ++package) {
    const arch::Mfn first{(u64{1} + package) << 32};
    spec.sections.push_back({.frames = {first, package_pages}, .package = package, .node = package});
  }
  return MachineEpc::create(spec).value();
}

/// 4 MiB to 1 GiB, in whole MiB, the same in every run.
std::vector<u64> sizes() {
  std::mt19937 random(1);
  std::uniform_int_distribution<u64> mib(4, 1024);
  std::vector<u64> pages(domains);
  for (u64& n : pages) n = mib(random) * 256;
  return pages;
}

void report(benchmark::State& state, const MachineEpc& epc) {
  const MachineEpc::Metadata metadata = epc.metadata();
  const auto pages = static_cast<double>(epc.count().total);
  state.counters["bytes_per_page_worst"] = static_cast<double>(metadata.reserved) / pages;
  state.counters["bytes_per_page_now"] = static_cast<double>(metadata.resident) / pages;
  state.counters["resident_KiB"] = static_cast<double>(metadata.resident) / 1024;
}

void describe_machine(benchmark::State& state) {
  for (auto _ : state) {
    MachineEpc epc = machine();
    benchmark::DoNotOptimize(epc);
  }
}
BENCHMARK(describe_machine)->Unit(benchmark::kMicrosecond);

/// All domains are created, and destroyed in another order.
void thousand_domains(benchmark::State& state) {
  const std::vector<u64> pages = sizes();
  std::vector<u16> order(domains);
  for (u16 i = 0; i < domains; ++i) order[i] = static_cast<u16>(i + 1);
  std::shuffle(order.begin(), order.end(), std::mt19937(2));
  MachineEpc epc = machine();
  for (auto _ : state) {
    for (u16 owner = 1; owner <= domains; ++owner) {
      const EpcRequest request{.pages = pages[owner - 1u], .package = {}};
      if (!epc.allocate(EpcOwner{owner}, std::array{request})) state.SkipWithError("no room");
    }
    state.PauseTiming();
    report(state, epc);
    state.ResumeTiming();
    for (const u16 owner : order) epc.release(EpcOwner{owner});
  }
  if (epc.count().free != 2 * package_pages) state.SkipWithError("pages are lost");
  state.SetItemsProcessed(state.iterations() * domains);
}
BENCHMARK(thousand_domains)->Unit(benchmark::kMicrosecond);

/// One domain comes and goes while the free memory is in pieces: every second one of so many equal domains has ended.
void in_pieces(benchmark::State& state) {
  MachineEpc epc = machine();
  const auto pieces = static_cast<u64>(state.range(0));
  const u64 piece = package_pages / pieces;
  for (u64 i = 0; i < pieces; i += 2) {
    const std::array extents{EpcExtent{arch::Mfn{(u64{1} << 32) + i * piece}, piece}};
    if (!epc.reserve(EpcOwner{1}, extents)) state.SkipWithError("not reserved");
  }
  const EpcRequest request{.pages = piece / 2, .package = 0};
  for (auto _ : state) {
    benchmark::DoNotOptimize(epc.allocate(EpcOwner{2}, std::array{request}));
    epc.release(EpcOwner{2});
  }
  report(state, epc);
}
BENCHMARK(in_pieces)->RangeMultiplier(32)->Range(32, 1 << 20);

}  // namespace

BENCHMARK_MAIN();
