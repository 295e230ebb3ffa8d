// Waits end as soon as they can; the longest of them is of no test's.
#include "unit/daemon/test_daemon.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "host/own_folder.hpp"
#include "silicon/backend.hpp"
#include "unit/daemon/fake_vmm.hpp"
#include "unit/platform/kernel_files.hpp"

namespace cloister::tests {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

void wait_for(const std::function<bool()>& what) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!what()) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << "waited in vain";
    std::this_thread::sleep_for(milliseconds(1));
  }
}

TestDaemon::TestDaemon(fs::path where)
    : folder(std::move(where)), machine(default_machine()), silicon(silicon::backend(), faults) {
  patience.retry = milliseconds(5);
  patience.share = milliseconds(10);
  const auto kernel = test::make_elf();
  std::ofstream(folder / "kernel", std::ios::binary)
      .write(reinterpret_cast<const char*>(kernel.data()), static_cast<std::streamsize>(kernel.size()));
}

TestDaemon::~TestDaemon() {
  std::vector<int> vmms;
  if (domains_ != nullptr) {
    for (const DomainInfo& domain : domains_->list()) {
      if (domain.pid > 0) vmms.push_back(domain.pid);
    }
  }
  stop();
  for (const int pid : vmms) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

tl::expected<void, std::string> TestDaemon::start() {
  const auto run = open_own_folder(paths.run, Making::missing, 0750);
  if (!run) return tl::unexpected(run.error());
  auto kept = Registry::open(paths);
  if (!kept) return tl::unexpected(kept.error());
  auto sockets = SocketFolders::open(run->get(), paths.run, Making::missing);
  if (!sockets) return tl::unexpected(sockets.error());
  auto broker = Broker::create(silicon, machine);
  if (!broker) return tl::unexpected(broker.error());
  auto cgroups = DomainCgroups::open(cgroup, folder);
  if (!cgroups) return tl::unexpected(cgroups.error());
  auto vmms = std::make_unique<FaultyVmms>(kept->state(), faults, sight);
  Surroundings around{.records = std::make_unique<FaultyRecords>(std::move(*kept), faults),
                      .vmms = std::move(vmms),
                      .secrets = {fixed_platform_secret(), {{1}}},
                      .patience = patience,
                      .observer = [this](LifeState from, LifeEvent event) {
                        const std::scoped_lock held(lock_);
                        steps_.push_back({from, event, state_after(from, event).value_or(from)});
                      }};
  auto domains =
      Domains::create(paths, std::move(around), std::move(*sockets), std::move(*broker), std::move(*cgroups));
  if (!domains) return tl::unexpected(domains.error());
  domains_ = std::move(*domains);
  return {};
}

void TestDaemon::restart() {
  stop();
  const auto started = start();
  ASSERT_TRUE(started) << started.error();
}

CreateRequest TestDaemon::request(const std::string& name, const std::string& word) const {
  CreateRequest request;
  request.config = "name = \"" + name + "\"\ntype = \"pvh\"\nmemory = 16\nepc = 1\nkernel = \"" +
                   (folder / "kernel").string() + "\"\n# vmm: " + word + "\n";
  request.file = config_file();
  request.owner = own_user();
  return request;
}

Domains::Result TestDaemon::add(const std::string& name, const std::string& word) {
  return domains_->add(request(name, word));
}

Domains::DefinitionResult TestDaemon::define(const std::string& name, const std::string& more) {
  DefineRequest define{.name = name, .as = request(name)};
  define.as.config += more;
  return domains_->define(define);
}

std::string TestDaemon::shown(const std::string& name) const {
  const auto domain = domains_->find(name);
  return domain ? domain->state : std::string();
}

void TestDaemon::wait_until(const std::string& name, const std::string& state) const {
  wait_for([&] { return shown(name) == state; });
}

void TestDaemon::kill(const std::string& name) const {
  const auto domain = domains_->find(name);
  ASSERT_TRUE(domain && domain->pid > 0);
  ::kill(domain->pid, SIGKILL);
}

void TestDaemon::kill_without_daemon(const std::string& name) {
  const auto domain = domains_->find(name);
  ASSERT_TRUE(domain && domain->pid > 0);
  stop();
  ::kill(domain->pid, SIGKILL);
  ASSERT_EQ(::waitpid(domain->pid, nullptr, 0), domain->pid);
  ASSERT_TRUE(start());
}

void TestDaemon::mute(bool mute) const {
  fs::remove(mute_file(config_file()));
  if (mute) std::ofstream(mute_file(config_file())) << "";
}

Registry TestDaemon::registry() const {
  auto kept = Registry::open(paths);
  EXPECT_TRUE(kept);
  return std::move(*kept);
}

DomainRecord TestDaemon::record() const {
  const auto records = registry().read();
  EXPECT_TRUE(records && records->domains.size() == 1);
  return records->domains.at(0);
}

void TestDaemon::change_record(const std::function<void(DomainRecord&)>& change) const {
  DomainRecord changed = record();
  change(changed);
  ASSERT_TRUE(registry().put(changed));
}

std::string TestDaemon::left() const {
  std::string left;
  for (const DomainInfo& domain : domains_->list()) left += " domain " + domain.name + " " + domain.state;
  if (const EpcCount count = domains_->epc().count; count.granted != 0)
    left += " frames " + std::to_string(count.granted);
  if (const u64 mib = domains_->memory().held_mib; mib != 0) left += " memory " + std::to_string(mib);
  for (const fs::path& where : {paths.records(), paths.sockets()}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(where)) left += " file " + entry.path().string();
  }
  if (const int child = ::waitpid(-1, nullptr, WNOHANG); child != -1) left += " process " + std::to_string(child);
  return left;
}

std::vector<LifeStep> TestDaemon::steps() {
  const std::scoped_lock held(lock_);
  return std::exchange(steps_, {});
}

}  // namespace cloister::tests
