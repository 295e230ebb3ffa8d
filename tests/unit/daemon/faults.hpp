// What the domains stand on, with calls that are counted: one of them fails, or is the last thing that the process
// does.
#pragma once

#include <unistd.h>

#include <atomic>

#include "daemon/domains.hpp"

namespace cloister::tests {

using namespace toolstack;

class Faults {
 public:
  /// The call of this number, from now on, fails; `for_good`: and all after it. 0: none.
  void fail(int number, bool for_good = false) {
    calls_ = 0;
    number_ = number;
    for_good_ = for_good;
  }
  /// Of calls from now on: the process dies before the first, after it, before the second, and so on.
  void die(int point) {
    calls_ = 0;
    point_ = point;
  }
  /// Whether there were as many calls as the one that was to fail.
  bool met() const { return calls_ >= number_; }

  /// `action`, or a failure in its stead.
  template <typename Result>
  Result call(Result failure, auto action) {
    const int call = ++calls_;
    if (2 * call - 1 == point_) ::_exit(died);
    if (number_ != 0 && (call == number_ || (for_good_ && call > number_))) return failure;
    Result result = action();
    if (2 * call == point_) ::_exit(died);
    return result;
  }

  std::atomic<bool> full = false;  ///< no record can be written, and all can be removed

  static constexpr int died = 9;

 private:
  std::atomic<int> calls_ = 0, number_ = 0, point_ = 0;
  std::atomic<bool> for_good_ = false;
};

inline tl::unexpected<std::string> planted() { return tl::unexpected(std::string("planted")); }

class FaultyRecords final : public Records {
 public:
  FaultyRecords(Registry registry, Faults& faults) : registry_(std::move(registry)), faults_(faults) {}

  tl::expected<RecordsRead, std::string> read() const override {
    return faults_.call<tl::expected<RecordsRead, std::string>>(planted(), [&] { return registry_.read(); });
  }
  void tidy(const RecordsRead& records) const override { registry_.tidy(records); }
  tl::expected<MachineRecord, std::string> machine() const override { return registry_.machine(); }
  tl::expected<void, std::string> put(const DomainRecord& record) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put(record); });
  }
  tl::expected<void, std::string> remove(u32 id) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.remove(id); });
  }
  tl::expected<std::string, std::string> set_aside(u32 id) const override {
    return faults_.call<tl::expected<std::string, std::string>>(planted(), [&] { return registry_.set_aside(id); });
  }
  tl::expected<void, std::string> put(const MachineRecord& record) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put(record); });
  }
  tl::expected<DefinitionsRead, std::string> definitions() const override { return registry_.definitions(); }
  void tidy(const DefinitionsRead& definitions) const override { registry_.tidy(definitions); }
  tl::expected<void, std::string> put(const Definition& definition) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put(definition); });
  }
  tl::expected<void, std::string> remove_definition(const std::string& uuid) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.remove_definition(uuid); });
  }
  tl::expected<std::string, std::string> set_aside_definition(const std::string& file) const override {
    return registry_.set_aside_definition(file);
  }
  tl::expected<std::optional<HostRecord>, std::string> host() const override { return registry_.host(); }
  tl::expected<std::string, std::string> set_aside_host() const override { return registry_.set_aside_host(); }
  tl::expected<void, std::string> put(const HostRecord& record) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put(record); });
  }
  tl::expected<KeysRead, std::string> keys() const override { return registry_.keys(); }
  void tidy(const KeysRead& keys) const override { registry_.tidy(keys); }
  tl::expected<void, std::string> put_key(const KeyName& name, const std::string& text) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put_key(name, text); });
  }
  tl::expected<void, std::string> remove_key(const KeyName& name) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.remove_key(name); });
  }
  tl::expected<std::string, std::string> set_aside_key(const KeyName& name) const override {
    return registry_.set_aside_key(name);
  }
  tl::expected<std::optional<std::string>, std::string> ticket(const std::string& name) const override {
    return registry_.ticket(name);
  }
  void tidy_tickets() const override { registry_.tidy_tickets(); }
  tl::expected<std::vector<std::string>, std::string> tickets() const override { return registry_.tickets(); }
  tl::expected<std::vector<std::string>, std::string> saved() const override { return registry_.saved(); }
  tl::expected<void, std::string> rename_saved(const std::string& from, const std::string& to) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.rename_saved(from, to); });
  }
  tl::expected<void, std::string> remove_saved(const std::string& name) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.remove_saved(name); });
  }
  std::vector<u8> beginning_of_saved(const std::string& name, std::size_t bytes) const override {
    return registry_.beginning_of_saved(name, bytes);
  }
  tl::expected<void, std::string> put_ticket(const std::string& name, const std::string& text) const override {
    if (faults_.full) return planted();
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.put_ticket(name, text); });
  }
  tl::expected<void, std::string> remove_ticket(const std::string& name) const override {
    return faults_.call<tl::expected<void, std::string>>(planted(), [&] { return registry_.remove_ticket(name); });
  }

 private:
  const Registry registry_;
  Faults& faults_;
};

/// What a test says of processes instead of the kernel; empty: the kernel does. Set while no daemon runs, or atomic.
struct Sight {
  std::atomic<bool> blind = false;  ///< whether a process lives cannot be told
  std::atomic<bool> may_have = false;
  /// In the stead of a process's pidfd, which it is like: an eventfd. What it stands for dies of no signal.
  Fd undying{};
};

class FaultyVmms final : public VmmProcesses {
 public:
  FaultyVmms(int state, Faults& faults, const Sight& sight)
      : host_("/proc/self/exe", state), faults_(faults), sight_(sight) {}

  tl::expected<Process, std::string> start(u32 id, const LaunchDescriptors& descriptors, int errors) const override {
    return faults_.call<tl::expected<Process, std::string>>(planted(),
                                                            [&] { return host_.start(id, descriptors, errors); });
  }
  std::optional<ProcessIdentity> identity(int pid) const override {
    if (sight_.blind) return std::nullopt;
    return faults_.call<std::optional<ProcessIdentity>>(std::nullopt, [&] { return host_.identity(pid); });
  }
  tl::expected<Fd, Absence> open(const ProcessIdentity& process) const override {
    if (sight_.blind) return tl::unexpected(Absence::unknown);
    if (sight_.undying) return Fd(::dup(sight_.undying.get()));
    return host_.open(process);
  }
  bool may_have(u32) const override { return sight_.may_have; }

 private:
  const HostVmms host_;
  Faults& faults_;
  const Sight& sight_;
};

/// The silicon, with as little memory as a test wants.
class FaultySilicon final : public vmx::Backend {
 public:
  FaultySilicon(const vmx::Backend& real, Faults& faults) : real_(real), faults_(faults) {}

  /// Packages get no memory for their EPC.
  std::atomic<bool> cramped = false;

  vmx::CpuidRegs cpuid(const vmx::Package::Config& config, u32 leaf, u32 subleaf) const override {
    return real_.cpuid(config, leaf, subleaf);
  }
  std::unique_ptr<vmx::Package> make_package(vmx::Package::Config config) const override {
    if (cramped) config.epc.clear();
    return real_.make_package(std::move(config));
  }
  tl::expected<vmx::EpcMemory::Pointer, vmx::MemoryError> create_epc(u64 pages) const override {
    return faults_.call<tl::expected<vmx::EpcMemory::Pointer, vmx::MemoryError>>(
        tl::unexpected(vmx::MemoryError::no_memory), [&] { return real_.create_epc(pages); });
  }
  tl::expected<vmx::EpcMemory::Pointer, vmx::MemoryError> adopt_epc(int pages, int epcm, u64 count) const override {
    return real_.adopt_epc(pages, epcm, count);
  }
  bool discard_epc(const vmx::EpcMemory& memory, const vmx::EpcRow& row,
                   std::span<const vmx::EpcRow> kept) const override {
    return faults_.call<bool>(false, [&] { return real_.discard_epc(memory, row, kept); });
  }
  u64 epc_beyond(const vmx::EpcMemory& memory, std::span<const vmx::EpcRow> pages) const override {
    return real_.epc_beyond(memory, pages);
  }
  tl::expected<vmx::MachineCounters::Pointer, vmx::MemoryError> create_counters(u64 boot) const override {
    return faults_.call<tl::expected<vmx::MachineCounters::Pointer, vmx::MemoryError>>(
        tl::unexpected(vmx::MemoryError::no_memory), [&] { return real_.create_counters(boot); });
  }
  tl::expected<vmx::MachineCounters::Pointer, vmx::MemoryError> adopt_counters(int descriptor) const override {
    return real_.adopt_counters(descriptor);
  }

 private:
  const vmx::Backend& real_;
  Faults& faults_;
};

}  // namespace cloister::tests
