// A daemon's domains, without HTTP, in folders of a test's own. They are left and taken over as by one daemon after the
// other; their VMMs are fake_vmm.hpp's.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "unit/daemon/faults.hpp"

namespace cloister::tests {

class TestDaemon {
 public:
  /// `folder` is there; state and run folder are made in it.
  explicit TestDaemon(std::filesystem::path folder);
  /// Kills and reaps all that is left.
  ~TestDaemon();
  TestDaemon(const TestDaemon&) = delete;
  TestDaemon& operator=(const TestDaemon&) = delete;

  tl::expected<void, std::string> start();
  /// Domains go on.
  void stop() { domains_.reset(); }
  /// stop() and start(), which must go well.
  void restart();
  Domains& operator*() const { return *domains_; }
  Domains* operator->() const { return domains_.get(); }

  /// A domain with 1 MiB of EPC; `word`: what its VMM does (fake_vmm.hpp).
  Domains::Result add(const std::string& name, const std::string& word = "");
  /// The request for the same domain.
  CreateRequest request(const std::string& name, const std::string& word = "") const;
  /// Its definition, by this user; `more`: lines of its text.
  Domains::DefinitionResult define(const std::string& name, const std::string& more = "");
  /// What users see of its state; empty: there is no such domain.
  std::string shown(const std::string& name) const;
  /// Waits until it is seen so.
  void wait_until(const std::string& name, const std::string& state) const;
  /// Of a domain that is there, kills the VMM behind the daemon's back.
  void kill(const std::string& name) const;
  /// The same while no daemon looks on; the next one is there when this returns.
  void kill_without_daemon(const std::string& name);
  /// What a VMM that answers does when this is so (fake_vmm.hpp).
  void mute(bool mute) const;

  Registry registry() const;
  /// Of the one domain there is.
  DomainRecord record() const;
  void change_record(const std::function<void(DomainRecord&)>& change) const;

  /// What there still is of domains: in the table, in EPC, as files or processes. Empty: nothing. Frames that are
  /// withdrawn do not count.
  std::string left() const;

  /// What has happened since the last call.
  std::vector<LifeStep> steps();

  const std::filesystem::path folder;
  const DaemonPaths paths{folder / "state", folder / "run"};
  MachineDescription machine;
  Patience patience;
  std::string cgroup = "none";
  Faults faults;
  Sight sight;
  FaultySilicon silicon;

 private:
  std::string config_file() const { return folder / "domain.cfg"; }

  std::mutex lock_;
  std::vector<LifeStep> steps_;
  std::unique_ptr<Domains> domains_;
};

/// Waits for what must come.
void wait_for(const std::function<bool()>& what);

}  // namespace cloister::tests
