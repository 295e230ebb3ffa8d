// A payload's run: the image from the build folder in a domain of its own, in this process, to its end.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine_under_test.hpp"
#include "hypervisor/domain.hpp"
#include "silicon/silicon.hpp"

namespace cloister::payload {

struct Setting {
  u64 epc_mib = 0;
  silicon::Features features{};
  std::chrono::milliseconds timeout{1'200'000};  ///< for one that hangs
  silicon::ClockMode clock = silicon::ClockMode::deterministic;
  silicon::EpcMemory::Pointer memory = nullptr;  ///< of the EPC; null: private
  u32 vcpus = 1;
  bool launch_control_writable = true;  ///< of the machine, as its hash
  std::array<u64, 4> launch_hash = arch::msr::intel_lepubkeyhash;
  policy::LaunchRequest launch{};  ///< of the domain
  bool sgx_provision = true;
  bool wake = false;                                                ///< whenever it has suspended itself
  u64 frames = 0;                                                   ///< of EPC, in pages; 0: as many as the domain sees
  hypervisor::EpcPaging paging = hypervisor::EpcPaging::automatic;  ///< how, if there are fewer
  unsigned storm = 0;                       ///< not 0: after each exit some pages of EPC are evicted, by this seed
  hypervisor::RunCounts* counts = nullptr;  ///< of what the domain does
  hypervisor::PagerCounts* pager_counts = nullptr;      ///< of its pager
  std::function<void(const std::string& line)> said{};  ///< told each line of the console, before the guest goes on
  std::vector<policy::CpuidOverride> cpuid{};
  silicon::EngineKind engine = engine_under_test();
  u64 memory_mib = 512;
  std::string kernel{}, ramdisk{}, cmdline{};  ///< paths of another image than the payload's; empty: none
  std::vector<u8> ramdisk_bytes{};             ///< a ramdisk without a path
  /// Makes a package that stands between the domain and its own; none: there is nothing in between.
  std::function<std::unique_ptr<vmx::Package>(silicon::Package& own, const platform::MemoryMap& map)> in_front{};
  std::function<void()> after_exit{};  ///< after what a storm does
  /// Not 0: after so many rounds of turns, of so many instructions if there is one processor, or under the host's clock
  /// after so many exits, the domain is saved, and another goes on where it was; and so on.
  u64 save_after = 0, turn_alone = 0;
  bool alive = false;       ///< it is saved with its enclaves, and goes on in another package of the same platform,
  bool comes_back = false;  ///< or, when they have left, is told that it failed, and goes on itself
  silicon::Package* package = nullptr;  ///< one that others use, too, on which `sections` are its frames
  std::vector<silicon::EpcSection> sections{};
  const std::atomic<bool>* stop = nullptr;  ///< becomes true: the domain is to end
};

/// The first generation with SGX: none of what came later, and no launch control.
silicon::Features first_generation();

/// The silicon has AVX: the host does.
bool offers_avx();

struct Result {
  hypervisor::Outcome outcome;
  std::string console;
  u64 evictions = 0, loads = 0;
  u64 saved = 0;   ///< so many times
  u64 rounds = 0;  ///< of turns, under the deterministic clock
  /// The lines of the console that begin with `word`.
  std::vector<std::string> lines_with(const std::string& word) const;
};

/// Runs guest/payload/NAME.elf. The error says what could not be set up.
tl::expected<Result, std::string> run_payload(const std::string& name, const Setting& setting);

/// The same in a child process, whose exit status is an ending's: 0 powered off, 3 crashed, 4 reset, 5 halted, 124
/// timed out; 99 if it could not be set up. Negative: the signal that killed the child.
int run_in_child(const std::string& name, const Setting& setting);

}  // namespace cloister::payload
