// The machine's EPC in the daemon's hands: accounts, the memory of domains, and what is taken back from them.
//
// Threads: none; Domains locks.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "machine/epc/machine_epc.hpp"
#include "machine/machine.hpp"
#include "plan/package_values.hpp"
#include "plan/processors.hpp"

namespace cloister::toolstack {

/// "507", with what each package has free and who holds the rest; or "400" for what no machine could give.
struct Shortage {
  std::string message;
  bool shortage = true;
};

class Broker {
 public:
  static tl::expected<Broker, std::string> create(const Processors& processors, MachineDescription machine);

  const Processors& processors() const { return processors_; }
  const vmx::Backend& silicon() const { return processors_.any(); }
  const MachineDescription& machine() const { return machine_; }
  const MachineEpc& accounts() const { return accounts_; }

  /// kept: pages of each package that stay free.
  tl::expected<EpcAllocation, Shortage> allocate(u32 id, const std::vector<EpcSection>& sections,
                                                 std::span<const u64> kept,
                                                 const std::function<std::string(u32 id)>& name_of_domain);
  /// Grants these very frames, as far as this machine has them. Returns how many it does not have: they are in nobody's
  /// accounts, and so nobody else's. The error if one is not free.
  tl::expected<u64, std::string> reserve(u32 id, const Grants& grants);
  void release(u32 id);
  /// More frames of a package for a domain that has some; empty: so many are not free.
  std::vector<EpcExtent> lend(u32 id, u32 package, u64 pages);
  /// Frees frames that the domain has, of which nothing is left in any memory.
  void take_back(u32 id, const std::vector<EpcExtent>& frames);
  /// What a domain has, by number.
  std::vector<EpcExtent> frames_of(u32 id) const;
  /// A frame that is out of use for good. False: this machine has no such frame.
  bool withdraw(u64 frame);

  /// EREMOVEs every page that a domain whose VMM is gone has used, which takes no key. The frames that could not be
  /// cleaned; an error if there is no memory to clean with, which says nothing of the frames. Any thread.
  static tl::expected<std::vector<u64>, std::string> clean(const vmx::Backend& silicon, const PackageValues& values,
                                                           const Grants& grants, const vmx::EpcMemory::Pointer& memory);

 private:
  /// Rows as they lie in the machine's sections; what lies in none is left out.
  std::vector<EpcExtent> in_sections(const std::vector<EpcExtent>& extents) const;
  Broker(const Processors& processors, MachineDescription machine, MachineEpc accounts)
      : processors_(processors), machine_(std::move(machine)), accounts_(std::move(accounts)) {}

  Processors processors_;
  MachineDescription machine_;
  MachineEpc accounts_;
};

}  // namespace cloister::toolstack
