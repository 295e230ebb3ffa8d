// A control group for each domain (cgroup v2, Documentation/admin-guide/cgroup-v2.rst): its VMM gets no more memory,
// processor time and threads than a domain like it can come to need, whatever it has been turned into.
//
// They lie in a folder `domains` below a group that is the daemon's to use: the slice `cloister.slice`, in which
// packaging/cloisterd.service runs, or the one that --cgroup names. That group's own settings are never changed but
// for what its children may use; groups that the daemon did not make are left alone.
#pragma once

#include <filesystem>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"

namespace cloister::toolstack {

struct CgroupLimits {
  u64 memory_bytes = 0;  ///< memory.max; at it the whole group is killed
  u32 processors = 0;    ///< cpu.max: as many processors' time
  u32 tasks = 0;         ///< pids.max
  bool operator==(const CgroupLimits&) const = default;
};

/// Threads: any.
class DomainCgroups {
 public:
  /// `asked`: a group's folder, "none", or "auto": the daemon's own slice. An error only of a folder that was asked for
  /// by name. `root`: where /proc and /sys are.
  static tl::expected<DomainCgroups, std::string> open(const std::string& asked, const std::string& root = "/");

  /// No group: why not.
  const std::string& off() const { return off_; }
  /// Of the controllers memory, cpu and pids, those that are there.
  const std::vector<std::string>& controllers() const { return controllers_; }
  const std::filesystem::path& folder() const { return domains_; }

  /// Makes the domain's group, and puts the process into it. Nothing without a group to use.
  tl::expected<void, std::string> add(u32 id, int pid, const CgroupLimits& limits) const;
  /// Of a domain whose processes are gone.
  void remove(u32 id) const;
  /// Removes the groups of all other domains, as far as they are empty.
  void keep_only(const std::vector<u32>& ids) const;

 private:
  DomainCgroups() = default;
  std::filesystem::path of(u32 id) const { return domains_ / ("domain-" + std::to_string(id)); }
  bool has(const char* controller) const;

  std::filesystem::path domains_;
  std::vector<std::string> controllers_;
  std::string off_;
};

}  // namespace cloister::toolstack
