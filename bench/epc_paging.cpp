// What it costs that a domain sees more EPC than it has: an enclave of four times the resident EPC, whose pages are
// used in several orders, in a domain that has a frame for each (static) and in such that are paged, both ways.
// Processor time of the process is compared, so that a busy host says little; the three take turns, and medians are
// shown.
//
// A fault is all that lies between an access and its repetition: the exit, the eviction of another page, its own load,
// the entry, and the guest's way back into its enclave. What a domain takes longer than the static one is divided by
// the loads, and compared with raw AES-GCM over 4 KiB, sealing one page and opening another.
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "arch/sizes.hpp"
#include "gcm.hpp"
#include "payload/suite/working_set.hpp"

namespace {

using namespace cloister;
using hypervisor::EpcPaging;
using payload::WorkingSet;

struct Options {
  u64 resident_mib = 16;
  unsigned repetitions = 5;
  silicon::EngineKind engine = silicon::engine_available(silicon::EngineKind::compiler)
                                   ? silicon::EngineKind::compiler
                                   : silicon::EngineKind::interpreter;
  bool neighbour = false;
};

constexpr std::array modes{EpcPaging::none, EpcPaging::trap, EpcPaging::oss};
const char* name_of(EpcPaging mode) {
  return mode == EpcPaging::none ? "static" : mode == EpcPaging::trap ? "trap" : "oss";
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

u64 nanoseconds(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
}

double median(std::vector<double> of) {
  std::ranges::sort(of);
  return of.empty() ? 0 : of[of.size() / 2];
}

// ---- what is done

constexpr const char* orders[] = {"streaming", "zipf", "uniform"};
constexpr u64 halves[] = {1, 2, 4, 8};  ///< of the resident EPC

struct Step {
  const char* order;
  u64 half;  ///< 0: it makes things ready
};

struct Plan {
  WorkingSet set;
  std::vector<Step> steps;
};

/// Each order is gone over before it is timed; all that are timed have the same number of accesses.
Plan plan_of(u64 resident) {
  const u32 most = static_cast<u32>(4 * resident);
  Plan plan{.set = {.pages = most, .threads = 1, .runs = {}}, .steps = {}};
  for (const char* const order : orders) {
    for (const u64 half : halves) {
      const u32 pages = static_cast<u32>(resident * half / 2);
      const bool streams = order == orders[0];
      std::vector<u32> used = streams              ? payload::streaming(pages)
                              : order == orders[1] ? payload::zipf(pages, most, 1)
                                                   : payload::uniform(pages, most, 1);
      plan.set.runs.push_back({.orders = {used}, .times = 1, .writes = false});
      plan.set.runs.push_back({.orders = {used}, .times = streams ? most / pages : 1, .writes = false});
      plan.steps.push_back({order, 0});
      plan.steps.push_back({order, half});
    }
  }
  return plan;
}

struct Sample {
  double build_ns = 0;
  struct Timed {
    double ns = 0;
    u64 loads = 0, touched = 0;
  };
  std::vector<Timed> steps;
};

/// `frames`: of a domain that is paged.
payload::Setting setting_of(const Options& options, const WorkingSet& set, EpcPaging mode, u64 frames) {
  payload::Setting setting;
  setting.epc_mib = (set.epc_pages() + arch::pages_per_mib - 1) / arch::pages_per_mib;
  setting.clock = silicon::ClockMode::host;
  setting.engine = options.engine;
  if (mode != EpcPaging::none) setting.frames = frames;
  setting.paging = mode;
  return setting;
}

/// One domain's life.
Sample run(const Options& options, const Plan& plan, const std::vector<u8>& ramdisk, EpcPaging mode, u64 frames) {
  hypervisor::PagerCounts counts;
  Sample sample;
  u64 since = 0, loads = 0;
  std::size_t line = 0;
  payload::Setting setting = setting_of(options, plan.set, mode, frames);
  setting.ramdisk_bytes = ramdisk;
  setting.pager_counts = &counts;
  setting.said = [&](const std::string& text) {
    const u64 now = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    const auto seen = payload::sighting_of(text);
    if (!seen) return;
    const double took = static_cast<double>(now - since);
    if (line == 1) sample.build_ns = took;
    if (line >= 2) {
      const WorkingSet::Run& done = plan.set.runs[line - 2];
      if (seen->sum != payload::expected_sum(done)) fail("the enclave did not find what it should: " + text);
      sample.steps.push_back({took, counts.loads - loads, seen->touched});
    }
    ++line;
    loads = counts.loads;
    since = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  };
  const auto result = payload::run_payload("sgx_working_set", setting);
  if (!result) fail(result.error());
  if (sample.steps.size() != plan.steps.size()) fail("the guest ended early:\n" + result->console);
  return sample;
}

/// Nanoseconds of two passes, over as much memory as pages and their images have.
double raw(u64 pages) {
  std::vector<u8> plain(pages * arch::page_size), sealed(plain.size()), tags(pages * bench::Gcm::tag_bytes);
  bench::Gcm gcm;
  const auto each = [&](u64 i, auto what) {
    what(i + 1, &plain[i * arch::page_size], &sealed[i * arch::page_size], &tags[i * bench::Gcm::tag_bytes]);
  };
  const auto seal = [&](auto... of) { gcm.seal(of...); };
  const auto open = [&](auto... of) { gcm.open(of...); };
  for (u64 i = 0; i < pages; ++i) each(i, seal);
  const u64 before = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (u64 i = 0; i < pages; ++i) {
    each(i, seal);
    each((i + pages / 2) % pages, open);
  }
  return static_cast<double>(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - before) / static_cast<double>(pages);
}

// ---- what is shown

void compare(const Options& options) {
  const u64 resident = options.resident_mib * arch::pages_per_mib;
  const Plan plan = plan_of(resident);
  const std::vector<u8> ramdisk = plan.set.ramdisk();
  // Alone, and with a frame for each page.
  const Plan build_alone{.set = {.pages = plan.set.pages, .threads = 1, .runs = {}}, .steps = {}};
  const std::vector<u8> build_ramdisk = build_alone.set.ramdisk();
  const u64 enough = plan.set.epc_pages();
  std::map<EpcPaging, std::vector<double>> build;                      // over static
  std::map<EpcPaging, std::vector<std::vector<double>>> ratio, fault;  // by step: over static; over raw
  std::map<EpcPaging, std::vector<Sample>> samples;
  std::vector<double> raws, static_build;
  for (const EpcPaging mode : modes) {
    ratio[mode].resize(plan.steps.size());
    fault[mode].resize(plan.steps.size());
  }
  for (unsigned i = 0; i < options.repetitions; ++i) {
    const double before = raw(resident);
    for (const EpcPaging mode : modes) samples[mode].push_back(run(options, plan, ramdisk, mode, resident));
    const double passes = (before + raw(resident)) / 2;
    raws.push_back(passes);
    const Sample& whole = samples[EpcPaging::none].back();
    static_build.push_back(run(options, build_alone, build_ramdisk, EpcPaging::none, 0).build_ns);
    for (const EpcPaging mode : modes) {
      const Sample& own = samples[mode].back();
      if (mode != EpcPaging::none)
        build[mode].push_back(run(options, build_alone, build_ramdisk, mode, enough).build_ns / static_build.back());
      for (std::size_t step = 0; step < plan.steps.size(); ++step) {
        const auto &timed = own.steps[step], &other = whole.steps[step];
        ratio[mode][step].push_back(timed.ns / other.ns);
        if (timed.loads > 1000)
          fault[mode][step].push_back((timed.ns - other.ns) / static_cast<double>(timed.loads) / passes);
      }
    }
  }
  std::printf("%llu MiB of EPC for an enclave of %llu MiB; processor time, medians of %u\n",
              static_cast<unsigned long long>(options.resident_mib),
              static_cast<unsigned long long>(4 * options.resident_mib), options.repetitions);
  std::printf("two passes of AES-GCM over 4 KiB: %.0f ns\n", median(raws));
  std::printf("build of the enclave with a frame for each page, static: %.0f ms; trap %.2f, oss %.2f of it\n",
              median(static_build) / 1e6, median(build[EpcPaging::trap]), median(build[EpcPaging::oss]));
  std::printf("\n%-11s %4s %10s", "order", "set", "static");
  for (const EpcPaging mode : {EpcPaging::trap, EpcPaging::oss})
    std::printf("  | %5s %7s %6s", name_of(mode), "faults", "cost");
  std::printf("\n");
  for (std::size_t step = 0; step < plan.steps.size(); ++step) {
    const auto& [order, half] = plan.steps[step];
    if (half == 0) continue;
    std::vector<double> ms;
    for (const Sample& sample : samples[EpcPaging::none]) ms.push_back(sample.steps[step].ns / 1e6);
    std::printf("%-11s %4.1f %7.1f ms", order, static_cast<double>(half) / 2, median(ms));
    for (const EpcPaging mode : {EpcPaging::trap, EpcPaging::oss}) {
      const auto& last = samples[mode].back().steps[step];
      std::printf("  | %5.2f %6.1f%% ", median(ratio[mode][step]),
                  100 * static_cast<double>(last.loads) / static_cast<double>(last.touched));
      fault[mode][step].empty() ? std::printf("%6s", "-") : std::printf("%6.2f", median(fault[mode][step]));
    }
    std::printf("\n");
  }
  std::printf(
      "\nset: of the resident EPC. trap, oss: time over static's. faults: loads for each page used.\n"
      "cost: what a load takes of the time of two passes of AES-GCM.\n");
}

void pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) != 0) fail("no second processor to pin a domain to");
}

/// A domain whose minimum has its working set, beside one that burns its processor: without touching EPC that it lacks,
/// or by touching everything. Each has silicon of its own, as processes have.
void neighbours(const Options& options) {
  const u64 resident = options.resident_mib * arch::pages_per_mib;
  const u32 own = static_cast<u32>(resident / 2), most = static_cast<u32>(4 * resident);
  const auto work = [&](u32 pages, u32 times) {
    return WorkingSet{.pages = most,
                      .threads = 1,
                      .runs = {{.orders = {payload::streaming(pages)}, .times = 1},
                               {.orders = {payload::streaming(pages)}, .times = times}}};
  };
  const WorkingSet its = work(own, 200);
  const std::vector<u8> ramdisk = its.ramdisk();
  std::vector<double> speed;
  u64 evictions = 0;
  for (unsigned i = 0; i < options.repetitions; ++i) {
    double took[2] = {};
    for (const bool touches : {false, true}) {
      std::atomic<bool> stop = false;
      const WorkingSet other = work(touches ? most : own, 1'000'000);
      std::thread beside([&] {
        pin(1);
        payload::Setting setting = setting_of(options, other, EpcPaging::oss, resident);
        setting.ramdisk_bytes = other.ramdisk();
        setting.stop = &stop;
        if (const auto result = payload::run_payload("sgx_working_set", setting); !result) fail(result.error());
      });
      pin(0);
      hypervisor::PagerCounts counts;
      payload::Setting setting = setting_of(options, its, EpcPaging::oss, resident);
      setting.ramdisk_bytes = ramdisk;
      setting.pager_counts = &counts;
      u64 since = 0, evicted = 0;
      setting.said = [&](const std::string& text) {
        if (!payload::sighting_of(text)) return;
        const u64 now = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        took[touches] = static_cast<double>(now - since);
        evictions += touches && since != 0 ? counts.loads - evicted : 0;
        evicted = counts.loads;
        since = now;
      };
      if (const auto result = payload::run_payload("sgx_working_set", setting); !result) fail(result.error());
      stop = true;
      beside.join();
    }
    speed.push_back(took[0] / took[1]);
  }
  std::printf(
      "a domain whose minimum has its working set: %.2f of its speed beside one that touches %llu MiB with %llu,\n"
      "against one that has its own, too; processor time, median of %u\n",
      median(speed), static_cast<unsigned long long>(4 * options.resident_mib),
      static_cast<unsigned long long>(options.resident_mib), options.repetitions);
}

Options read(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const auto value = [&]() -> std::string { return ++i < count ? words[i] : ""; };
    if (word == "--resident") {
      options.resident_mib = std::strtoul(value().c_str(), nullptr, 10);
    } else if (word == "--repetitions") {
      options.repetitions = static_cast<unsigned>(std::strtoul(value().c_str(), nullptr, 10));
    } else if (word == "--engine") {
      const std::string name = value();
      const auto row = std::ranges::find(silicon::engine_names, name, &silicon::EngineName::name);
      if (row == silicon::engine_names.end() || !silicon::engine_available(row->kind))
        fail("--engine: there is no '" + name + "'");
      options.engine = row->kind;
    } else if (word == "--neighbour") {
      options.neighbour = true;
    } else {
      std::printf(
          "usage: bench_epc_paging [--resident MIB] [--repetitions N] [--engine NAME] [--neighbour]\n"
          "  --neighbour: instead, a domain's speed beside one that touches more EPC than it has\n");
      std::exit(word == "--help" ? 0 : 2);
    }
  }
  if (options.resident_mib == 0 || options.repetitions == 0) fail("expected numbers above 0");
  return options;
}

}  // namespace

int main(int count, char** words) {
  const Options options = read(count, words);
  options.neighbour ? neighbours(options) : compare(options);
}
