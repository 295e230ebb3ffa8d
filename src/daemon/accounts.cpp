// What of the machine's memory and EPC domains have.
#include "daemon/domains.hpp"

namespace cloister::toolstack {

std::vector<MemoryHolder> Domains::memory_holders() const {
  std::vector<MemoryHolder> holders;
  for (const auto& [id, domain] : table_) {
    holders.push_back({domain->record.name, domain->record.charged_mib});
  }
  return holders;
}

MemoryInfo Domains::memory() const {
  const MutexLock held(lock_);
  MemoryInfo memory{.limit = memory_limit(), .controllers = cgroups_.controllers(), .no_groups = cgroups_.off()};
  for (const MemoryHolder& holder : memory_holders()) memory.held_mib += holder.mib;
  return memory;
}

MachineEpcInfo Domains::epc() const {
  const MutexLock held(lock_);
  const MachineEpc& accounts = broker_.accounts();
  MachineEpcInfo all;
  all.count = accounts.count();
  all.ended = ended_beyond_;
  for (u32 package = 0; package < accounts.packages(); ++package) {
    PackageEpc one{.package = package,
                   .sections = machine().packages[package].epc,
                   .count = accounts.count(package),
                   .largest_free_extent = accounts.largest_free_extent(package)};
    const auto withdrawn = accounts.withdrawn(package);
    all.withdrawn.insert(all.withdrawn.end(), withdrawn.begin(), withdrawn.end());
    all.packages.push_back(std::move(one));
  }
  return all;
}

}  // namespace cloister::toolstack
