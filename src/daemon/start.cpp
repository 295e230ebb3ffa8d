// The domains' beginning and end as a whole, with what stands on them.
#include <sys/eventfd.h>

#include "arch/try.hpp"
#include "daemon/migrations.hpp"
#include "host/log.hpp"
#include "host/threads.hpp"

namespace cloister::toolstack {

Domains::Domains(DaemonPaths paths, Surroundings around, SocketFolders sockets, Broker broker,
                 std::unique_ptr<VmmLogs> logs, DomainCgroups cgroups)
    : paths_(std::move(paths)),
      around_(std::move(around)),
      sockets_(std::move(sockets)),
      broker_(std::move(broker)),
      logs_(std::move(logs)),
      cgroups_(std::move(cgroups)),
      host_memory_(host_memory()),
      keys_(*around_.records, around_.secrets),
      host_saves_(*around_.records, paths_.saved()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

tl::expected<std::unique_ptr<Domains>, std::string> Domains::create(const DaemonPaths& paths, Surroundings around,
                                                                    SocketFolders sockets, Broker broker,
                                                                    DomainCgroups cgroups) {
  auto logs = TRY(VmmLogs::create([](const VmmLine& line) { log_for("cloister-vmm", line.level, line.fields); }));
  std::unique_ptr<Domains> domains(new Domains(paths, std::move(around), std::move(sockets), std::move(broker),
                                               std::move(logs), std::move(cgroups)));
  if (!domains->wake_) return tl::unexpected(std::string("no descriptors left"));
  {
    const MutexLock held(domains->lock_);
    TRY(domains->recover());
    std::vector<u32> ids;
    for (const auto& [id, domain] : domains->table_) ids.push_back(id);
    domains->cgroups_.keep_only(ids);
  }
  domains->watcher_ = start_thread([raw = domains.get()] { raw->watch(); });
  domains->migrations_ = TRY(Migrations::create(*domains, paths.state));
  return domains;
}

Domains::~Domains() {
  migrations_.reset();
  {
    const MutexLock held(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
  if (watcher_.joinable()) watcher_.join();
  followers_.clear();
  ends_.clear();  // waits: frames that cannot be cleaned must not be forgotten
  turns_.transfers.clear();
  const MutexLock held(lock_);
  keep_late();
}

}  // namespace cloister::toolstack
