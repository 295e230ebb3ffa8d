// The domains of the machine: their definitions, their creation, what is asked of them, their end, and finding them
// again after a restart. Those that are defined and have no VMM are "shut off".
//
// Every VMM is watched by its pidfd from the moment that it exists. Whatever ends a domain, a word from outside, the
// guest itself, a crash, a failed creation, it is the VMM's death that has it cleaned up, in one place: end(). Cleaning
// takes as long as the EPC that was used is large, so it is done on a thread for each end, without the lock; until then
// the domain is "ending", and has its name and its frames.
//
// Threads: all functions may be called from any thread. A thread of its own watches the VMMs.
#pragma once

#include <array>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "arch/sizes.hpp"
#include "daemon/broker.hpp"
#include "daemon/cgroups.hpp"
#include "daemon/checked_request.hpp"
#include "daemon/definitions.hpp"
#include "daemon/domain.hpp"
#include "daemon/domain_info.hpp"
#include "daemon/domain_parts.hpp"
#include "daemon/domain_save.hpp"
#include "daemon/host_saves.hpp"
#include "daemon/key_ring.hpp"
#include "daemon/socket_folders.hpp"
#include "daemon/start_schedule.hpp"
#include "daemon/surroundings.hpp"
#include "daemon/ticket_list.hpp"
#include "daemon/vmm_logs.hpp"
#include "host/mutex.hpp"
#include "plan/policies.hpp"
#include "protocol/control.hpp"
#include "protocol/saving.hpp"
#include "verbs/guest_verbs.hpp"

namespace cloister::toolstack {

ApiError no_such_domain(const std::string& key);
class Migrations;

class Domains {
 public:
  /// Finds the domains of an earlier daemon, cleans up what it left, and starts to watch.
  static tl::expected<std::unique_ptr<Domains>, std::string> create(const DaemonPaths& paths, Surroundings around,
                                                                    SocketFolders sockets, Broker broker,
                                                                    DomainCgroups cgroups);
  /// Domains go on.
  ~Domains();
  Domains(const Domains&) = delete;
  Domains& operator=(const Domains&) = delete;

  using Result = tl::expected<DomainInfo, ApiError>;
  Result add(const CreateRequest& request);
  /// `key`: a name, a number or a uuid.
  Result find(const std::string& key) const;
  /// Those that live, by number.
  std::vector<DomainInfo> list() const;
  /// Those that are shut off, by name.
  std::vector<DomainInfo> list_shut_off() const;

  // definitions (defining.cpp)
  using DefinitionResult = tl::expected<DefinitionInfo, ApiError>;
  /// Checks all that add() does but for how much of the machine is free. For a definition that there is, its owner or
  /// root alone; a domain that lives has it at its next start.
  DefinitionResult define(const DefineRequest& request);
  DefinitionResult definition(const std::string& key) const;
  /// who: null: the daemon. They alone can have its own key erased, or what was saved of it, who may erase the key.
  DefinitionResult undefine(const std::string& key, const TagCondition& condition = {}, const Peer* who = nullptr,
                            bool erase_key = false);
  /// Of a definition: as it was when the host went down, if it was saved then. anew: not so; what was saved is given
  /// up.
  Result start(const std::string& key, bool paused, bool anew = false);
  Result change(const std::string& key, const DomainChange& change);
  DefinitionCounts definition_counts() const;

  // saving (saving.cpp)
  /// Has it written to a file that is made for it; then it ends, or goes on (request.then). The answer comes as soon as
  /// that has begun; find() by its uuid tells the rest, also when it has ended.
  Result save(const std::string& key, const FileRequest& request);
  /// What was saved in the file goes on: as the domain that is defined, or else as a domain of who asks.
  Result restore(const FileRequest& request, bool paused);
  /// The host goes down: into a file of the state folder's, from which its definition goes on, once (host_saves.hpp).
  Result save_for_host(const std::string& key);

  Migrations& migrations() { return *migrations_; }

  // tickets (enclaves.cpp): whose files are who's, or all if that is root or the daemon's own user
  std::vector<TicketInfo> tickets(const Peer& who) const;
  tl::expected<TicketInfo, ApiError> erase_ticket(const std::string& name, const Peer& who);

  // keys (keys.cpp)
  /// All, by name: those of domains first.
  std::vector<KeyInfo> keys() const;
  /// `text`: "UUID" or "group:NAME".
  tl::expected<KeyInfo, ApiError> key(const std::string& text) const;
  /// For ever, while no domain uses it. The last state.
  tl::expected<KeyInfo, ApiError> erase_key(const std::string& text, const Peer& who);
  /// A definition of an earlier version's, which is "machine", is "private" from its domain's next start on.
  Result move_to_own_keys(const std::string& key, const Peer& who);

  // the host (host_turns.cpp)
  /// Notes what runs, for those that are started again if they ran. From now on none is started, also by the next
  /// daemon.
  HostDown host_down();
  /// It does not go down, or is up again: forgets what was noted, also where that cannot be written down.
  tl::expected<std::vector<std::string>, ApiError> host_up();
  bool going_down() const;
  AutostartInfo autostart() const;
  bool is_pending(const std::string& uuid) const;
  /// Whether there is a guest of it: not while it is created, or ends.
  bool lives(const std::string& uuid) const;
  /// One that was pending is started, or was tried for the last time: why it could not be.
  void settle(const std::string& uuid, const std::string& failure);
  /// None of this user's that are pending is to be tried for the first time before then, by a later daemon either.
  void delay(unsigned user, Restarts::Clock::time_point until);
  /// One that is pending could not be started, and is tried again.
  void not_yet(const std::string& uuid, const std::string& failure);

  /// What its processors answer, and why.
  tl::expected<Policies, ApiError> policies(const std::string& key) const;
  /// Passes a verb on to its VMM, with its arguments as read_arguments() has them.
  Result tell(const std::string& key, const GuestVerbRow& verb, const nlohmann::json& arguments);
  /// Of a domain whose EPC is paged, until its end.
  Result change_epc(const std::string& key, const EpcChange& change);
  /// Kills the VMM and waits until everything is taken back. The last state.
  Result destroy(const std::string& key);

  MachineEpcInfo epc() const;
  MemoryInfo memory() const;
  /// A way over TLS to a machine that is one of the peers: which one it is (transfers.hpp). connection: borrowed.
  tl::expected<std::string, std::string> reach(const std::string& to, int connection) const;
  nlohmann::json transfer_order() const;  ///< for who serves other machines; secret
  PublicKey machine_key() const { return around_.secrets.machine.public_key(); }
  const MachineDescription& machine() const CLOISTER_NO_THREAD_SAFETY_ANALYSIS { return broker_.machine(); }
  const Processors& processors() const CLOISTER_NO_THREAD_SAFETY_ANALYSIS { return broker_.processors(); }

 private:
  friend class Migrations;
  friend class VersionFrames;
  using Pointer = std::shared_ptr<Domain>;

  Domains(DaemonPaths paths, Surroundings around, SocketFolders sockets, Broker broker, std::unique_ptr<VmmLogs> logs,
          DomainCgroups cgroups);

  /// The one way from a state to the next. Wakes who waits for it, and the watcher.
  void happens(Domain& domain, LifeEvent event) CLOISTER_REQUIRES(lock_);

  // creation; `definition`: what it is started from, null: a request
  Result create_domain(const CreateRequest& request, const Definition* definition, SavedFile from = {});
  /// A domain that lives and may be the definition's, by what is known of it.
  Pointer living_of(const Definition& definition) const CLOISTER_REQUIRES(lock_);
  /// Of what living_of() has found: why it is not known whether it is the definition's; nullopt: it is.
  std::optional<ApiError> may_be_another(const Domain& domain, const Definition& definition) const;
  std::optional<ApiError> in_the_way(const DomainConfig& config, const Definition* definition) const
      CLOISTER_REQUIRES(lock_);
  /// Frames that somebody waits for, while it is there.
  class Claim;
  /// claim: what was waited for, which ends as the domain has it; null: nothing.
  tl::expected<Pointer, ApiError> admit(const CreateRequest& request, CheckedRequest& checked,
                                        const Definition* definition, Claim* claim);
  tl::expected<DomainIdentity, ApiError> identity_of(const CreateRequest& request, const DomainConfig& config,
                                                     const Definition* definition) const CLOISTER_REQUIRES(lock_);
  tl::expected<void, std::string> power_on(Domain& domain) CLOISTER_REQUIRES(lock_);
  /// Of a domain that never ran, and is in the table no more: nothing is sealed with them.
  void forget_made_keys(const Domain& domain) CLOISTER_REQUIRES(lock_);
  tl::expected<DomainPlatform, std::string> platform_for(const DomainRecord& record) const CLOISTER_EXCLUDES(lock_);
  tl::expected<void, ApiError> say_run(Domain& domain, ControlClient& launching, bool paused) CLOISTER_EXCLUDES(lock_);
  tl::expected<void, ApiError> launch(const Pointer& domain, const OpenImages& images, bool paused);
  tl::expected<ControlClient, std::string> start_vmm(const Pointer& domain, const OpenImages& images);
  void roll_back(const Pointer& domain);

  // definitions
  /// The definition that `key` means, whether its domain lives or not, until the next change.
  tl::expected<const Defined*, ApiError> defined(const std::string& key) const CLOISTER_REQUIRES(lock_);
  /// What it was started from; null: it is gone when it ends.
  const Defined* definition_of(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  tl::expected<void, ApiError> keep(Defined defined) CLOISTER_REQUIRES(lock_);
  /// Sees in what a domain differs from its definition, one of which has another text than before.
  void compare(Domain& domain) const CLOISTER_REQUIRES(lock_);
  std::optional<ApiError> no_room_for(const Definition& next) const CLOISTER_REQUIRES(lock_);
  tl::expected<Definition, ApiError> defined_anew(const DefineRequest& request, const DomainConfig& config)
      CLOISTER_REQUIRES(lock_);
  Result rename(const Pointer& domain, const std::string& name);
  void read_definitions() CLOISTER_REQUIRES(lock_);
  void host_turns(const RecordsRead& records) CLOISTER_REQUIRES(lock_);
  tl::expected<void, std::string> keep(HostRecord record) CLOISTER_REQUIRES(lock_);
  /// What is so whether it can be written down or not; it is tried again with the next change.
  tl::expected<void, std::string> keep_anyway(HostRecord record) CLOISTER_REQUIRES(lock_);
  void settled(const std::string& uuid, const std::string& failure) CLOISTER_REQUIRES(lock_);
  void keep_late() CLOISTER_REQUIRES(lock_);
  bool pending(const Definition& definition) const CLOISTER_REQUIRES(lock_);
  StartFailure start_failure(const Definition& definition) const CLOISTER_REQUIRES(lock_);

  // saving
  Result save_in(const std::string& path, const std::string& key, const FileRequest& request);
  Result restore_from(const std::string& path, const FileRequest& request, bool paused,
                      const std::optional<HostSave>& save = {});
  /// ticket: of enclaves that go with it; empty: they do not.
  tl::expected<void, ApiError> begin_save(const Pointer& domain, const SavingOrder& order, const SavingRecord& saving,
                                          const std::string& ticket, std::array<int, 2> descriptors)
      CLOISTER_EXCLUDES(lock_);
  void forget_save(Domain& domain) CLOISTER_REQUIRES(lock_);
  /// Why its enclaves cannot be saved with it; empty: they can, as far as the daemon knows.
  static std::string why_enclaves_stay(const Domain& domain);
  /// Of a domain whose enclaves have left, and which was not saved. False: not yet.
  bool take_enclaves_back(const DomainRecord& record, const SavingRecord& saving) CLOISTER_EXCLUDES(lock_);
  /// Of a file that is no whole domain's, or of enclaves that run.
  tl::expected<void, std::string> spend_ticket(const std::string& name) const;
  /// What its file's ticket says, if it is to have its enclaves; nullopt: it is not.
  tl::expected<std::optional<Ticket>, ApiError> ticket_for(const stream::SealId& id, stream::Kind config,
                                                           const FileRequest& request, const std::string& uuid) const;
  /// Starts follow() for a domain that is being saved, if nothing does.
  void look_on(const Pointer& domain) CLOISTER_REQUIRES(lock_);
  /// On a thread of its own: until it goes on, or dies.
  void follow(const Pointer& domain) CLOISTER_EXCLUDES(lock_);
  bool settle_save(const Domain& domain) CLOISTER_EXCLUDES(lock_);
  /// why: empty if it is saved. left: why the file could not be removed, or named.
  void save_ends(const Domain& domain, const std::string& why, const std::string& left) CLOISTER_REQUIRES(lock_);
  std::optional<SaveInfo> save_of(const std::string& uuid) const CLOISTER_REQUIRES(lock_);
  /// Of one that is gone, and was to be saved before that.
  std::optional<DomainInfo> ended_by_save(const std::string& key) const CLOISTER_REQUIRES(lock_);

  Result go_on_from(const HostSave& save, bool paused);
  tl::expected<void, ApiError> forget_host_save(const std::string& uuid) CLOISTER_REQUIRES(lock_);
  tl::expected<void, ApiError> give_up(const std::string& uuid) CLOISTER_REQUIRES(lock_);
  static std::optional<ApiError> doubt_about(const Definition& definition, const char* otherwise = nullptr);
  void spend_arrival(Domain& domain) CLOISTER_REQUIRES(lock_);

  std::optional<MoveInfo> move_of(const Domain& domain) const CLOISTER_REQUIRES(lock_);

  // keys
  bool settle_moved(const DomainRecord& record) CLOISTER_REQUIRES(lock_);
  bool has_members(const std::string& group, u32 but) const CLOISTER_REQUIRES(lock_);
  std::vector<std::string> users_of(const KeyName& name) const CLOISTER_REQUIRES(lock_);
  KeyInfo info(const HeldKey& held) const CLOISTER_REQUIRES(lock_);
  std::optional<ApiError> not_erasable(const HeldKey& held, const Peer& who) const CLOISTER_REQUIRES(lock_);

  // recovery
  void keep(const DomainRecord& record) const;
  DaemonPaths paths_of(const DomainRecord& record) const;
  tl::expected<ControlClient, ControlClient::Refused> connect(const DomainRecord& record,
                                                              std::chrono::milliseconds limit) const;
  bool is_here(const DomainRecord& record) const;
  void remove_sockets(const Domain& domain) const;
  void give_sockets(const Domain& domain) const;
  void tidy_sockets() const CLOISTER_REQUIRES(lock_);
  tl::expected<void, std::string> take(const Pointer& domain, std::vector<Pointer>& dead) CLOISTER_REQUIRES(lock_);
  Pointer stand_in(const UnreadRecord& unread) const;
  bool set_aside(u32 id, const std::string& why) const;
  std::optional<std::string> accounts_unknown() const CLOISTER_REQUIRES(lock_);
  tl::expected<void, std::string> recover() CLOISTER_REQUIRES(lock_);
  enum class Proof : u8 { dead, held, unknown };
  Pointer find_again(const Pointer& domain) CLOISTER_REQUIRES(lock_);
  Proof look_for_process(Domain& domain) CLOISTER_REQUIRES(lock_);
  Proof look_for_listener(Domain& domain) CLOISTER_REQUIRES(lock_);
  Proof end_launch(Domain& domain) const CLOISTER_REQUIRES(lock_);
  Proof hold(Domain& domain, Fd process, int pid) CLOISTER_REQUIRES(lock_);
  bool look_again() CLOISTER_REQUIRES(lock_);
  using Answer = tl::expected<Handover, std::string>;
  /// Asks a VMM for its descriptors, on a thread of its own.
  std::future<Answer> ask(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  void adopt(Domain& domain, Handover handed) CLOISTER_REQUIRES(lock_);
  /// A VMM did not answer a request in time: it is silent from now on, if it is still there.
  void not_answered(u32 id, const ControlError& error);
  /// Asks again those that did not answer, and looks at what came. True: none is left.
  bool ask_again() CLOISTER_REQUIRES(lock_);
  void forget(const DomainRecord& record) CLOISTER_REQUIRES(lock_);

  // sharing
  /// Has frames move between domains. True: it is to be called again soon.
  bool share() CLOISTER_REQUIRES(lock_);
  /// What guests gave back. By package, the pages that others gave and lack, and have not been lent.
  std::vector<u64> settle_balloons() CLOISTER_REQUIRES(lock_);
  /// Ends those whose EPC has more of the host's memory than is their own: no VMM has that unless it was taken over.
  void end_beyond() CLOISTER_REQUIRES(lock_);
  bool settle(const Pointer& domain, const Balloon& balloon) CLOISTER_REQUIRES(lock_);
  /// Has those that see more EPC of a package than they have share what is not lacking otherwise.
  void share(u32 package, std::chrono::steady_clock::time_point now, u64 lacking) CLOISTER_REQUIRES(lock_);
  bool may_share(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  /// Pages by which frames move.
  u64 chunk() const { return machine().overcommit.chunk_mib * arch::pages_per_mib; }
  /// Asks for a look at once.
  void share_soon() CLOISTER_REQUIRES(lock_);

  // lending
  /// It can have other frames than it began with, and what it has is known.
  bool may_move(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  /// Something that is said to a VMM, on a thread of its own; one at a time with each.
  void transfer(const Pointer& domain, std::function<void()> what) CLOISTER_REQUIRES(lock_);
  /// False: nothing is lent.
  bool lend(const Pointer& domain, std::size_t section, u64 pages) CLOISTER_REQUIRES(lock_);
  void take_back(const Pointer& domain, u32 package, u64 pages) CLOISTER_REQUIRES(lock_);
  void find_lost(const Pointer& domain) CLOISTER_REQUIRES(lock_);
  void fetch(const Pointer& domain, const std::vector<vmx::EpcSection>& of, u64 pages) CLOISTER_EXCLUDES(lock_);
  void look_for_lost(const Pointer& domain) CLOISTER_EXCLUDES(lock_);
  void returned(const Pointer& domain, const std::vector<vmx::EpcSection>& frames) CLOISTER_EXCLUDES(lock_);

  // claims
  /// Waits until lent frames have come back for a domain that is to start, if that would help.
  std::shared_ptr<Claim> make_room(const DomainConfig& config) CLOISTER_EXCLUDES(lock_);
  void end(Claim& claim) CLOISTER_REQUIRES(lock_);
  /// Of a package, the pages that are free or would come back, less the machine's reserve: what may be promised.
  u64 room(u32 package) const CLOISTER_REQUIRES(lock_);
  /// What domains see of a package, in MiB.
  u64 seen_of(u32 package) const CLOISTER_REQUIRES(lock_);
  KeptFree kept_from(const DomainConfig& config) const CLOISTER_REQUIRES(lock_);

  // end
  void watch();
  void begin_end(const Pointer& domain) CLOISTER_REQUIRES(lock_);
  void collect_ends() CLOISTER_REQUIRES(lock_);
  std::optional<std::vector<u64>> clean(const Domain& domain);
  void end(Pointer domain);
  void withdraw(const Domain& domain, const std::vector<u64>& frames) CLOISTER_REQUIRES(lock_);
  /// As in the log.
  static std::string how_it_ended(const Domain& domain);
  void kill_and_wait(const Pointer& domain) CLOISTER_EXCLUDES(lock_);

  /// One request of a domain's VMM, and its answer.
  tl::expected<Packet, ApiError> say(const DomainRecord& record, const nlohmann::json& request,
                                     std::span<const int> descriptors = {}) CLOISTER_EXCLUDES(lock_);
  Pointer lookup(const std::string& key) const CLOISTER_REQUIRES(lock_);
  /// The domain of a uuid; null: none lives.
  Pointer living(const std::string& uuid) const CLOISTER_REQUIRES(lock_);
  /// Why there is no domain that something could be asked of.
  ApiError absent(const std::string& key) const CLOISTER_REQUIRES(lock_);
  ApiError lives_already(const Domain& domain) const;
  /// Why nothing can be asked of it at the moment.
  std::optional<ApiError> not_now(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  DomainInfo info(const Domain& domain) const CLOISTER_REQUIRES(lock_);
  DomainInfo info(const Defined& defined) const CLOISTER_REQUIRES(lock_);
  // Of the broker, what never changes; so is machine().
  const vmx::Backend& silicon() const CLOISTER_NO_THREAD_SAFETY_ANALYSIS { return broker_.silicon(); }
  MemoryLimit memory_limit() const { return {host_memory_, machine().memory_overcommit}; }
  std::vector<MemoryHolder> memory_holders() const CLOISTER_REQUIRES(lock_);
  std::string name_of(u32 id) const CLOISTER_REQUIRES(lock_);
  /// Why no other domain can have the name; nullopt: it can.
  std::optional<ApiError> name_taken(const std::string& name) const CLOISTER_REQUIRES(lock_);
  bool uuid_taken(const std::string& uuid) const CLOISTER_REQUIRES(lock_);
  tl::expected<u32, std::string> next_id() CLOISTER_REQUIRES(lock_);
  /// As a DiskUser says (checked_request.hpp).
  std::string user_of_disk(const std::string& identity, std::optional<DiskUse> locked) CLOISTER_EXCLUDES(lock_);

  const DaemonPaths paths_;
  const Surroundings around_;
  const SocketFolders sockets_;
  Broker broker_ CLOISTER_GUARDED_BY(lock_);
  FileOpener opener_;
  const std::unique_ptr<VmmLogs> logs_;
  const DomainCgroups cgroups_;
  const HostMemory host_memory_;

  mutable Mutex lock_;  ///< of the domains in the table, too (domain.hpp)
  Condition changed_;   ///< a domain is in another state, or all is to end
  std::map<u32, Pointer> table_ CLOISTER_GUARDED_BY(lock_);
  Definitions definitions_ CLOISTER_GUARDED_BY(lock_);
  KeyRing keys_ CLOISTER_GUARDED_BY(lock_);
  HostSaves host_saves_ CLOISTER_GUARDED_BY(lock_);
  HostRecord host_record_ CLOISTER_GUARDED_BY(lock_);
  /// Why those that are still to be started could not be the last time, by uuid; the next daemon tries them anew.
  std::map<std::string, std::string> not_yet_ CLOISTER_GUARDED_BY(lock_);
  std::map<std::string, LastEnd> last_ends_ CLOISTER_GUARDED_BY(lock_);  ///< of definitions, by uuid
  /// What is to be started is on disk; else records of what has died stay, from which the next daemon takes it.
  bool host_kept_ CLOISTER_GUARDED_BY(lock_) = true;
  /// Those that were started or given up since the file was written, by uuid.
  std::set<std::string> host_late_ CLOISTER_GUARDED_BY(lock_);
  /// The file could be neither understood nor moved: it stays as it is, and this daemon's word is its own alone.
  bool host_sealed_ CLOISTER_GUARDED_BY(lock_) = false;
  /// Since the daemon before this one: whatever had its records has ended.
  bool host_is_new_ CLOISTER_GUARDED_BY(lock_) = false;
  MachineRecord machine_record_ CLOISTER_GUARDED_BY(lock_);
  /// Why the machine's record is not known: it is not written then.
  std::string machine_unread_ CLOISTER_GUARDED_BY(lock_);
  bool stopping_ CLOISTER_GUARDED_BY(lock_) = false;
  Fd wake_;  ///< the watcher looks at the table anew
  /// Under way, or done and not looked at yet.
  std::list<std::future<void>> ends_ CLOISTER_GUARDED_BY(lock_);
  /// VMMs that did not answer at the daemon's start.
  std::map<u32, std::future<Answer>> asked_ CLOISTER_GUARDED_BY(lock_);
  u64 ended_beyond_ CLOISTER_GUARDED_BY(lock_) = 0;
  EpcTurns turns_ CLOISTER_GUARDED_BY(lock_);
  std::map<std::string, DomainSave> saves_ CLOISTER_GUARDED_BY(lock_);   ///< by uuid
  std::list<std::future<void>> followers_ CLOISTER_GUARDED_BY(lock_);    ///< of saves
  std::map<std::string, std::string> peers_ CLOISTER_GUARDED_BY(lock_);  ///< where domains go to, by uuid
  std::thread watcher_;
  std::unique_ptr<Migrations> migrations_;
};

}  // namespace cloister::toolstack
