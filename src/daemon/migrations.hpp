// Domains that move between daemons (docs/migration.md): those that leave (departure.cpp) and those that arrive
// (arrival.cpp). Who carries the bytes is a client at each end; their sockets are its connections to this daemon, and
// go on to the domains' processes.
//
// Nothing of a source's word is believed: a domain that arrives is created as who receives it would create it.
//
// Threads: all functions may be called from any thread. Each domain that arrives has one of its own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "daemon/domains.hpp"
#include "daemon/move_handshake.hpp"
#include "daemon/moved_keys.hpp"
#include "daemon/offer.hpp"
#include "daemon/verdicts.hpp"
#include "host/unix_socket.hpp"
#include "protocol/moving.hpp"

namespace cloister::toolstack {

struct Departure {
  std::string session{};  ///< as its target calls it
  std::string peer{};     ///< where it goes, for a person
  MoveLimits limits{};
};

enum class ArrivalPhase : u8 {
  loading,      ///< its stream comes
  awaits_root,  ///< the same, and all is there but the root of its enclaves
  ready,        ///< all is there, and it stands still
  committed,    ///< it is this daemon's
  aborted,      ///< it has not come
};
const char* name_of(ArrivalPhase phase);

struct ArrivalInfo {
  ArrivalPhase phase = ArrivalPhase::aborted;
  std::string error{};  ///< why it has not come
  std::string uuid{}, name{};
};

/// What is wanted of a target's verdict.
struct WantedVerdict {
  bool commit = false;
  bool paused = false;  ///< it was
  std::string held{};   ///< its source's word that it stands still; wanted for a commit of one with enclaves
  std::string uuid{};   ///< as its source calls it, for what this daemon has forgotten
};
struct SaidVerdict {
  Verdict verdict{};
  std::string word{};  ///< by which a source of enclaves believes it
};

class Migrations {
 public:
  static constexpr std::size_t most_of_a_user = 64;  ///< that come
  /// That have come, and whose sources have not said that they know it: small files, which stay.
  static constexpr std::size_t most_verdicts_of_a_user = 4096;

  static tl::expected<std::unique_ptr<Migrations>, std::string> create(Domains& domains, const std::string& state);
  /// Those that have not come as a whole do not. It must come before the domains end.
  ~Migrations();
  Migrations(const Migrations&) = delete;
  Migrations& operator=(const Migrations&) = delete;

  // domains that leave
  using Done = tl::expected<void, ApiError>;
  /// enclaves: none: they are kept if it has EPC. Why they cannot be is in the offer. target: what its target says to
  /// be its key, if that is known, which then must be named.
  tl::expected<Offer, ApiError> offer(const std::string& key, std::optional<MovedEnclaves> enclaves,
                                      const std::optional<PublicKey>& target = std::nullopt);
  struct Proof {
    std::string text;  ///< for the target
    std::string peer;  ///< what the target is called here
    std::string keys;  ///< the domain's, wrapped for the target
  };
  /// Its target has answered the last offer with `keep`, once: it is judged, and the answer is this machine's proof.
  /// From then on there is agreed().
  tl::expected<Proof, ApiError> prove(const std::string& key, const std::string& session, const std::string& answer);
  /// connection: what its stream goes to, once a byte has come on it; borrowed.
  Done depart(const std::string& key, const Departure& how, int connection);
  struct Held {
    bool paused = false;  ///< it was
    std::string word{};   ///< with enclaves: for the target
  };
  /// All of it has been sent, but for the root of its enclaves: from now on it goes on by a word alone.
  tl::expected<Held, ApiError> hold(const std::string& key, const std::string& session);
  /// It ends, since it runs elsewhere, or goes on. word: its target's, with enclaves. This daemon's word that it knows.
  tl::expected<std::string, ApiError> leave(const std::string& key, const std::string& session, bool commit,
                                            const std::string& word);
  /// It goes on here, and nobody has asked its target: its enclaves are lost, as in S3, and so are their keys.
  Done stay(const std::string& key, const std::string& session);
  /// While it does not run elsewhere for sure.
  Done cancel(const std::string& key);

  // domains that arrive
  /// Why it could not run here, all of it; empty: it could.
  std::vector<std::string> refusals(const Offer& offer, const Owner& owner);
  /// connection: what its stream comes from; borrowed.
  struct Arrived {
    std::string session;
    std::string answer;  ///< of an offer with `keep`: for the source
  };
  tl::expected<Arrived, ApiError> arrive(const Offer& offer, const Owner& owner, int connection);
  /// The source's proof has come, once: it is judged. What the source is called here. From then on there is agreed().
  /// keys: the domain's, wrapped.
  tl::expected<std::string, ApiError> accept(const std::string& session, const Peer& peer, const std::string& proof,
                                             const std::string& keys);
  /// What both machines have agreed on; null: they have not. Of a domain that leaves.
  std::shared_ptr<const MoveAgreement> agreed(const Domain& domain, const std::string& session) const;
  /// Of one that arrives.
  std::shared_ptr<const MoveAgreement> agreed(const std::string& session) const;
  ArrivalInfo arrival(const std::string& session, const Peer& peer) const;
  /// Whether it runs here, from now on and for ever: as was decided before, else as is wanted, if that can be.
  tl::expected<SaidVerdict, ApiError> decide(const std::string& session, const Peer& peer, const WantedVerdict& wanted);
  /// Its source knows the verdict. word: its source's, with enclaves; none: nobody's word is needed, since its source
  /// is gone for ever, which root and the daemon's own user may say.
  Done forget(const std::string& session, const Peer& peer, const std::optional<std::string>& word);

 private:
  struct Arrival {
    std::string session{};
    unsigned user = ~0u;
    std::string uuid{}, name{};
    std::shared_ptr<Domain> domain{};               ///< null once its thread is done
    OpenImages images{};                            ///< until its VMM has them
    std::optional<MoveTargetProof> proof{};         ///< until the source's has come; none: its enclaves are lost
    bool alive = false;                             ///< its enclaves come with it
    std::optional<StartTerms> defined{};            ///< its definition comes with it
    std::shared_ptr<const MoveAgreement> agreed{};  ///< null: it has not
    std::optional<MovedKeys> keys{};                ///< since then, until they are the domain's
    Fd connection{};                                ///< to see whether who brings it is there
    ArrivalPhase phase = ArrivalPhase::loading;
    std::string error{};
    bool paused = false;
    bool over = false;  ///< its thread has nothing left to do
    std::thread thread{};
  };
  using Coming = std::shared_ptr<Arrival>;

  Migrations(Domains& domains, Verdicts verdicts) : domains_(domains), verdicts_(std::move(verdicts)) {}

  /// Its guest would find the same machine.
  tl::expected<void, std::string> fits(const Offer& offer, const Owner& owner, const DomainConfig& config,
                                       const Grants& grants) const;
  /// What it would be created by.
  static CreateRequest request_of(const Offer& offer, const Owner& owner);
  void receive(const Coming& coming);
  bool load(const Coming& coming);
  /// Waits for its source's proof, and makes the keys that come with that the domain's.
  tl::expected<void, std::string> take_keys(const Coming& coming);
  tl::expected<void, std::string> adopt_keys(const Arrival& coming, const MoveAgreement& agreed, const MovedKeys& keys);
  void wait_for_verdict(const Coming& coming);
  bool can_run(const std::string& session);
  void let_run(const std::shared_ptr<Domain>& domain, bool paused);
  void end_it(const std::shared_ptr<Domain>& domain, const std::string& why);
  void clean_up();
  /// What an earlier daemon left: those that arrive, which nobody brings any more, and those that leave and were not
  /// held.
  void settle();
  void pause(std::chrono::milliseconds time) CLOISTER_REQUIRES(lock_);
  /// False: it is to be looked at again.
  bool settle(const std::shared_ptr<Domain>& domain);
  // disks (moved_disks.cpp)
  /// Why its disks cannot go on elsewhere, all of it; what they are called on all machines that have them, by their
  /// vdev, where the configuration says another target.
  std::vector<std::string> why_disks_stay(const DomainRecord& record, const DomainConfig& config,
                                          std::map<std::string, std::string>& targets) const;
  void offer_disks(const DomainRecord& record, const DomainConfig& config, Offer& offer);
  /// Why those that are offered cannot be had here, all of it.
  std::vector<std::string> disks_refused(const Offer& offer, const Owner& owner, const DomainConfig& config) const;
  /// Why its enclaves cannot go elsewhere; empty: they can.
  std::string why_enclaves_stay(const Domain& domain) const CLOISTER_REQUIRES(domains_.lock_);
  /// Notes in the domain what is said of it to a machine that is to have its enclaves.
  Done offer_enclaves(Domain& domain, Offer& offer, const std::optional<PublicKey>& target);
  // definitions that go along (moved_definitions.cpp)
  friend class Domains;
  void offer_definition(Domain& domain, Offer& offer) const;
  /// It is as it was offered before the domain left, or there is none, as then.
  bool left_with_definition(const Domain& domain, const std::string& session) const;
  /// Why one that comes could not be defined here; empty: it could.
  std::string why_not_defined(const Offer& offer, const CreateRequest& request);
  /// Of one that has come, and is its owner's from now on. False: it cannot be written down.
  static bool define(Domains& domains, const DomainRecord& record) CLOISTER_REQUIRES(domains.lock_);
  /// Of one that has left and is dead: it goes, or it is in doubt from now on. False: it cannot be written down.
  static bool forget_definition(Domains& domains, const DomainRecord& record) CLOISTER_REQUIRES(domains.lock_);
  static tl::expected<void, std::string> remove_definition(Domains& domains, const std::string& uuid,
                                                           const std::string& name) CLOISTER_REQUIRES(domains.lock_);
  /// It is started here, whatever its target has: with another key, if its enclaves went there.
  static Done clear_doubt(Domains& domains, const Defined& defined) CLOISTER_REQUIRES(domains.lock_);
  struct SaidOfDoubt {
    std::string session{};
    std::optional<MoveWord> verdict{};  ///< none: nobody has asked its target
    std::string word{};
  };
  /// Of a domain whose process died in doubt, and whose definition is left; none: it is no such domain.
  std::optional<tl::expected<std::string, ApiError>> settle_doubt(const std::string& key, const SaidOfDoubt& said);
  /// A domain that may be asked to leave, or leaves.
  tl::expected<std::shared_ptr<Domain>, ApiError> leaving(const std::string& key) const;
  std::string own_word(MoveWord word, const std::string& session, const std::string& uuid) const;
  Done set_record(Domain& domain, std::optional<MoveRecord> move);
  /// Its record says nothing of this move any more; of another one it says what it did.
  enum class Clearing : u8 { always, unless_held };
  Done clear_record(Domain& domain, const std::string& session, Clearing when = Clearing::always);

  Domains& domains_;
  const Verdicts verdicts_;
  mutable Mutex lock_;  ///< of the table below; before that of the domains
  Condition changed_;
  bool stopping_ CLOISTER_GUARDED_BY(lock_) = false;
  std::map<std::string, Coming> arrivals_ CLOISTER_GUARDED_BY(lock_);  ///< and what is in them
  std::thread settler_;
};

}  // namespace cloister::toolstack
