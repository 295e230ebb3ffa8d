// Which process a number meant when it was written down. Numbers are used again; a number with the time its process
// started is not, while the machine runs (proc(5): /proc/PID/stat, /proc/sys/kernel/random/boot_id).
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "toolstack/fd.hpp"

namespace cloister::toolstack {

struct ProcessIdentity {
  int pid = 0;
  u64 start = 0;     ///< ticks since the machine started
  std::string boot;  ///< of the machine's start
  bool operator==(const ProcessIdentity&) const = default;
};

/// Of a living process, which the caller holds by a pidfd. nullopt: /proc does not say.
std::optional<ProcessIdentity> identity_of(int pid);

enum class Absence : u8 {
  dead,     ///< it has ended: proven
  unknown,  ///< it could not be told: no descriptors left, or /proc does not say
};
/// A pidfd of that very process.
tl::expected<Fd, Absence> open_process(const ProcessIdentity& process);

/// Whether some process runs a program of this name, as far as /proc shows; of no use against one that hides.
bool any_process_named(const std::string& program);

}  // namespace cloister::toolstack
