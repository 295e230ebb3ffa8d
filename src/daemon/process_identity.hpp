// Which process a number meant when it was written down. Numbers are used again; a number with the time its process
// started is not, while the machine runs (proc(5): /proc/PID/stat, /proc/sys/kernel/random/boot_id).
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/files.hpp"

namespace cloister::toolstack {

struct ProcessIdentity {
  int pid = 0;
  u64 start = 0;          ///< ticks since the machine started
  std::string boot;       ///< of the machine's start
  u64 pid_namespace = 0;  ///< in which the number means something (pid_namespaces(7)), by its inode; 0: not known
  bool operator==(const ProcessIdentity&) const = default;
};

/// Which start of the host this is: of its kernel, or of the namespace that has this process's numbers, a container's.
/// Namespaces' inodes are used again, by the next container at once; the first process of another one started at
/// another time. For tests the environment variable CLOISTER_TEST_BOOT_ID says the boot instead of the kernel.
struct HostStart {
  std::string boot;
  u64 pid_namespace = 0;  ///< 0: not known
  /// When its process 1 started, in ticks since the machine started (proc(5)); nullopt: not known, as where /proc hides
  /// it.
  std::optional<u64> first_process{};
  bool operator==(const HostStart&) const = default;
};
/// nullopt: /proc does not say.
std::optional<HostStart> host_start();
/// What is not known of a namespace tells nothing.
bool same_start(const HostStart& one, const HostStart& other);
/// All that is known of one start by two looks at it.
HostStart joined(const HostStart& now, const HostStart& before);

/// Of a living process, which the caller holds by a pidfd. nullopt: /proc does not say.
std::optional<ProcessIdentity> identity_of(int pid);

enum class Absence : u8 {
  dead,     ///< it has ended: proven
  unknown,  ///< it could not be told: no descriptors left, or /proc does not say
};
/// A pidfd of that very process.
tl::expected<Fd, Absence> open_process(const ProcessIdentity& process);

/// What a VMM is called in /proc/PID/cmdline and by ps(1): its domain's number, and the state folder by its device and
/// inode, so that a domain of which nothing else is left can be told to have ended.
std::string vmm_title(u32 id, int state_folder);
/// Whether there may be a process of this title: one that runs `program` and has it, or no title at all (an earlier
/// version's), or /proc does not show all processes.
bool may_have_vmm(const std::string& program, const std::string& title);

}  // namespace cloister::toolstack
