#include "machine.hpp"

#include <openssl/sha.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <random>
#include <semaphore>
#include <sstream>
#include <thread>

#include "silicon/silicon.hpp"

namespace cloister::payload {

namespace {

constexpr u64 mib = 1 << 20;
constexpr arch::Mfn machine_epc{0x100000};
constexpr auto intel_hash = arch::msr::intel_lepubkeyhash;

int status_of(hypervisor::Ending ending) {
  switch (ending) {
    case hypervisor::Ending::powered_off: return 0;
    case hypervisor::Ending::crashed: return 3;
    case hypervisor::Ending::reset: return 4;
    case hypervisor::Ending::halted: return 5;
    case hypervisor::Ending::timed_out: return 124;
    case hypervisor::Ending::stopped:
    case hypervisor::Ending::saved: break;
  }
  return 98;
}

/// How many pages of EPC the payloads use (guest/payload/sgx/machine.hpp), and how many of them a storm tries at once.
constexpr u64 payload_places = 140;
constexpr std::size_t storm_pages = 4;

tl::expected<std::vector<u8>, std::string> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return tl::unexpected("cannot read " + path);
  return std::vector<u8>{std::istreambuf_iterator<char>(file), {}};
}

tl::expected<hypervisor::DomainSpec, std::string> make_spec(const std::string& name, const Setting& setting,
                                                            const silicon::Package& package) {
  const auto bytes =
      contents(setting.kernel.empty() ? CLOISTER_BINARY_DIR "/guest/payload/" + name + ".elf" : setting.kernel);
  if (!bytes) return tl::unexpected(bytes.error());
  auto kernel = platform::read_kernel(*bytes);
  if (!kernel) return tl::unexpected(kernel.error());

  const auto raw = [&](u32 leaf, u32 subleaf) { return package.cpuid(leaf, subleaf); };
  auto map = platform::make_memory_map(setting.memory_mib * mib, setting.epc_mib * mib,
                                       raw(arch::leaf::address_sizes, 0).eax & 0xff);
  if (!map) return tl::unexpected(map.error());
  policy::CpuidRequest request;
  for (const platform::EpcRange& range : map->epc) request.epc.push_back({range.base.value, range.bytes});
  request.overrides = setting.cpuid;
  auto cpuid = policy::domain_cpuid(raw, request);
  if (!cpuid) return tl::unexpected(cpuid.error());

  hypervisor::DomainSpec spec;
  spec.name = name;
  spec.map = std::move(*map);
  spec.cpuid = std::move(*cpuid);
  const bool launch_control = setting.features.launch_control();
  auto msrs = policy::domain_msrs({.sgx = setting.epc_mib != 0,
                                   .launch_control = launch_control,
                                   .lepubkeyhash = launch_control ? setting.launch_hash : intel_hash,
                                   .lepubkeyhash_writable = setting.launch_control_writable},
                                  spec.cpuid, setting.launch);
  if (!msrs) return tl::unexpected(msrs.error().message);
  spec.msr = *msrs;
  spec.sgx_provision = setting.sgx_provision;
  spec.kernel = std::make_shared<const platform::KernelImage>(std::move(*kernel));
  if (!setting.ramdisk.empty()) {
    auto ramdisk = contents(setting.ramdisk);
    if (!ramdisk) return tl::unexpected(ramdisk.error());
    spec.ramdisk = std::make_shared<const std::vector<u8>>(std::move(*ramdisk));
  }
  if (!setting.ramdisk_bytes.empty()) spec.ramdisk = std::make_shared<const std::vector<u8>>(setting.ramdisk_bytes);
  spec.cmdline = setting.cmdline;
  spec.pager_counts = setting.pager_counts;
  if (setting.frames != 0) spec.epc_paging = setting.paging;
  spec.clock = setting.clock;
  spec.vcpus = setting.vcpus;
  return spec;
}

silicon::Package::Config config_of(const Setting& setting) {
  silicon::Package::Config config;
  config.features = setting.features;
  if (setting.epc_mib != 0) config.epc = {{machine_epc, setting.epc_mib * mib / arch::page_size}};
  config.memory = setting.memory;
  config.launch_control_writable = setting.launch_control_writable;
  config.launch_hash = setting.launch_hash;
  return config;
}

}  // namespace

silicon::Features first_generation() {
  silicon::Features features;
  features.leaf7_ecx &= ~(1u << 30);
  features.sgx = {.sgx2 = false,
                  .enclv = false,
                  .oss = false,
                  .eupdatesvn = false,
                  .edeccssa = false,
                  .exinfo = false,
                  .kss = false,
                  .aexnotify = false,
                  .log2_size_64 = 36};
  return features;
}

bool offers_avx() {
  constexpr u32 avx = 1u << 28;
  return (silicon::Package({}, engine_under_test()).cpuid(arch::leaf::version, 0).ecx & avx) != 0;
}

std::vector<std::string> Result::lines_with(const std::string& word) const {
  std::vector<std::string> found;
  std::istringstream text(console);
  for (std::string line; std::getline(text, line);) {
    if (line.rfind(word, 0) == 0) found.push_back(line);
  }
  return found;
}

tl::expected<Result, std::string> run_payload(const std::string& name, const Setting& setting) {
  std::optional<silicon::Package> own;
  if (setting.package == nullptr) own.emplace(config_of(setting), setting.engine);
  silicon::Package& package = setting.package != nullptr ? *setting.package : *own;
  auto spec = make_spec(name, setting, package);
  if (!spec) return tl::unexpected(spec.error());
  std::vector<silicon::EpcSection> epc;
  arch::Mfn next = machine_epc;
  for (const platform::EpcRange& range : spec->map.epc) {
    epc.push_back({next, range.bytes / arch::page_size});
    next += range.bytes / arch::page_size;
  }
  if (setting.frames != 0) epc = {{machine_epc, setting.frames}};
  if (setting.package != nullptr) epc = setting.sections;
  const arch::Gpa epc_base = spec->map.epc.empty() ? arch::Gpa{} : spec->map.epc.front().base;
  const auto in_front = setting.in_front ? setting.in_front(package, spec->map) : nullptr;
  vmx::Package& its = in_front ? *in_front : package;  // until it is saved alive
  auto domain = hypervisor::Domain::create(its, *spec, epc);
  if (!domain) return tl::unexpected(domain.error());

  Result result;
  hypervisor::RunOptions options;
  options.timeout = setting.timeout;
  options.counts = setting.counts;
  options.stop = setting.stop;
  std::size_t told = 0;
  options.console_out = [&](std::span<const u8> bytes) {
    result.console.append(bytes.begin(), bytes.end());
    if (!setting.said) return;
    for (std::size_t end; (end = result.console.find('\n', told)) != std::string::npos; told = end + 1)
      setting.said(result.console.substr(told, end - told));
  };
  std::binary_semaphore asleep(0);
  std::jthread waker;
  if (setting.wake) {
    options.fell_asleep = [&asleep] { asleep.release(); };
    waker = std::jthread([&](const std::stop_token& over) {
      for (asleep.acquire(); !over.stop_requested(); asleep.acquire()) (*domain)->wake();
    });
  }
  std::minstd_rand random(setting.storm);
  std::mutex one_at_a_time;
  const auto storm = [&] {
    u64 pages[storm_pages];
    {
      const std::lock_guard held(one_at_a_time);
      for (u64& page : pages) page = random() % payload_places;
    }
    for (const u64 page : pages) (*domain)->evict_epc(epc_base + page * arch::page_size);
  };
  const bool in_turns = setting.clock == silicon::ClockMode::deterministic;
  std::atomic<u64> exits = 0;
  std::counting_semaphore due(0);
  const bool by_exits = setting.save_after != 0 && !in_turns;
  if (setting.storm != 0 || setting.after_exit || by_exits)
    options.after_exit = [&] {
      if (by_exits && ++exits % setting.save_after == 0) due.release();
      if (setting.storm != 0) storm();
      if (setting.after_exit) setting.after_exit();
    };
  options.turn_alone = setting.turn_alone;
  std::vector<u8> saved;
  std::string not_saved;
  const vmx::MoveToken arrived{1};
  u64 sessions = 0;
  const auto session = [&sessions, &arrived] {
    vmx::MoveSession one{.key = {2}};
    std::memcpy(one.id.data(), &sessions, sizeof sessions);
    ::SHA256(arrived.data(), arrived.size(), one.token_digest.data());
    return one;
  };
  // Whether it goes on itself.
  const auto save = [&] {
    ++sessions;
    saved.clear();
    const stream::Sink sink = [&saved](std::span<const u8> bytes) -> stream::Result<void> {
      saved.insert(saved.end(), bytes.begin(), bytes.end());
      return {};
    };
    stream::Writer writer(sink);
    bool left = false;
    const auto done = setting.alive ? (*domain)->save(writer, session(), left) : (*domain)->save(writer);
    if (!done) not_saved = done.error();
    if (!done || !setting.comes_back) return false;
    if (const auto back = (*domain)->take_enclaves_back(arrived); !back) not_saved = back.error();
    ++result.saved;
    saved.clear();
    return not_saved.empty();
  };
  if (in_turns)
    options.after_turns = [&] {
      ++result.rounds;
      return setting.save_after == 0 || result.rounds % setting.save_after != 0 || save();
    };
  std::atomic<bool> stop = false;
  if (by_exits) options.stop = &stop;
  const auto run = [&] {
    std::jthread saver;
    stop = false;
    if (by_exits)
      saver = std::jthread([&](const std::stop_token& over) {
        for (due.acquire(); !over.stop_requested(); due.acquire()) {
          (*domain)->pause();
          stop = !save();
          if (stop) return;
          (*domain)->unpause();
        }
      });
    result.outcome = (*domain)->run(options);
    saver.request_stop();
    due.release();
    if (saver.joinable()) saver.join();
    while (due.try_acquire()) {
    }
  };
  run();
  while (result.outcome.ending == hypervisor::Ending::stopped && setting.save_after != 0) {
    if (!not_saved.empty()) return tl::unexpected("it cannot be saved: " + not_saved);
    // The frames are the next one's.
    domain->reset();
    std::span<const u8> rest(saved);
    const stream::Source source = [&rest](std::span<u8> to) -> stream::Result<std::size_t> {
      const std::size_t n = std::min(to.size(), rest.size());
      std::copy_n(rest.begin(), n, to.begin());
      rest = rest.subspan(n);
      return n;
    };
    if (setting.alive) {
      own.emplace(config_of(setting), setting.engine);
      stream::Reader reader(source);
      domain = hypervisor::Domain::restore(*own, *spec, epc, reader, session());
      if (domain) {
        if (const auto done = (*domain)->commit_enclaves(arrived); !done) return tl::unexpected(done.error());
      }
    } else {
      domain = hypervisor::Domain::restore(its, *spec, epc, source);
    }
    if (!domain) return tl::unexpected("it cannot go on: " + domain.error());
    ++result.saved;
    run();
  }
  waker.request_stop();
  asleep.release();
  if (const auto* counts = (*domain)->pager_counts()) {
    result.evictions = counts->evictions;
    result.loads = counts->loads;
  }
  return result;
}

int run_in_child(const std::string& name, const Setting& setting) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto result = run_payload(name, setting);
    if (!result) {
      std::fprintf(stderr, "%s\n", result.error().c_str());
      ::_exit(99);
    }
    std::fputs(result->console.c_str(), stdout);
    std::fputs(result->outcome.report.c_str(), stdout);
    std::fflush(stdout);
    ::_exit(status_of(result->outcome.ending));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace cloister::payload
