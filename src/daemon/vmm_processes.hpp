// The processes of VMMs: how they are started, and found again.
//
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/process_identity.hpp"
#include "daemon/spawn.hpp"

namespace cloister::toolstack {

class VmmProcesses {
 public:
  virtual ~VmmProcesses() = default;

  /// A domain's VMM, with these descriptors; `errors`: its standard error.
  virtual tl::expected<Process, std::string> start(u32 id, const LaunchDescriptors& descriptors, int errors) const = 0;
  /// As process_identity.hpp has them.
  virtual std::optional<ProcessIdentity> identity(int pid) const = 0;
  virtual tl::expected<Fd, Absence> open(const ProcessIdentity& process) const = 0;
  /// Whether a domain may have a VMM of which nothing is known.
  virtual bool may_have(u32 id) const = 0;
};

/// Those of this host, which run `program`.
class HostVmms final : public VmmProcesses {
 public:
  /// `state`: the state folder, open as long as this object is there.
  HostVmms(std::string program, int state) : program_(std::move(program)), state_(state) {}

  tl::expected<Process, std::string> start(u32 id, const LaunchDescriptors& descriptors, int errors) const override {
    return spawn_vmm(program_, vmm_title(id, state_), descriptors, errors);
  }
  std::optional<ProcessIdentity> identity(int pid) const override { return identity_of(pid); }
  tl::expected<Fd, Absence> open(const ProcessIdentity& process) const override { return open_process(process); }
  bool may_have(u32 id) const override { return may_have_vmm(program_, vmm_title(id, state_)); }

 private:
  std::string program_;
  int state_;
};

}  // namespace cloister::toolstack
