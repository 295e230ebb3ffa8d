// Domains whose enclaves go along: to machines alone that are named in machine.toml and have proved that they are those
// (move_handshake.hpp). Who carries the messages is not asked.
#include <algorithm>

#include "arch/try.hpp"
#include "daemon/access.hpp"
#include "daemon/migrations.hpp"
#include "daemon/transfers.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

namespace {

ApiError not_proved(const std::string& name, const std::string& why, int status = 409) {
  return {status, "'" + name + "': " + why};
}

bool moves_now(const Domain& domain) {
  const MovePhase phase = domain.page == nullptr ? MovePhase::none : domain.page->move_phase();
  return phase != MovePhase::none && phase != MovePhase::over;
}

}  // namespace

Migrations::Done Migrations::offer_enclaves(Domain& domain, Offer& offer, const std::optional<PublicKey>& target) {
  if (domains_.machine().peers.empty())
    return tl::unexpected(not_proved(offer.name,
                                     "enclaves go on at machines alone that machine.toml names, and 'peers' "
                                     "in its [migration] is missing; without them the domain can go "
                                     "anywhere (--enclaves=lose)"));
  if (target && std::ranges::find(domains_.machine().peers, *target, &MovePeer::key) == domains_.machine().peers.end())
    return tl::unexpected(not_proved(offer.name, unlisted(*target, "its target")));
  offer.enclaves = MovedEnclaves::keep;
  auto leaving = std::make_unique<Domain::Leaving>(
      Domain::Leaving{MoveSourceProof(domains_.around_.secrets.machine), subject_of(offer)});
  offer.hello = leaving->proof.hello();
  const MutexLock held(domains_.lock_);
  if (moves_now(domain)) return tl::unexpected(not_proved(offer.name, "it is on its way already"));
  domain.offered = std::move(leaving);
  return {};
}

tl::expected<Migrations::Proof, ApiError> Migrations::prove(const std::string& key, const std::string& session,
                                                            const std::string& answer) {
  const auto domain = TRY(leaving(key));
  std::unique_ptr<const Domain::Leaving> offered;
  std::string name;
  {
    const MutexLock held(domains_.lock_);
    name = domain->record.name;
    if (moves_now(*domain)) return tl::unexpected(not_proved(name, "it is on its way already"));
    offered = std::move(domain->offered);
  }
  if (offered == nullptr) return tl::unexpected(not_proved(name, "it was not offered with its enclaves"));
  auto proved = offered->proof.prove(answer, session, offered->subject, domains_.machine().peers,
                                     source_digests(domains_.around_.secrets.wrap, session, offered->subject.uuid));
  if (!proved) {
    log(LogLevel::warning, "peer-not-proved", {{"domain", name}, {"error", proved.error()}});
    return tl::unexpected(not_proved(name, proved.error()));
  }
  log(LogLevel::info, "peer-proved", {{"domain", name}, {"peer", proved->agreed.peer}, {"session", session}});
  Proof proof{.text = std::move(proved->proof), .peer = proved->agreed.peer};
  const MutexLock held(domains_.lock_);
  domain->agreed = std::make_shared<const MoveAgreement>(std::move(proved->agreed));
  return proof;
}

tl::expected<std::string, ApiError> Migrations::accept(const std::string& session, const Peer& peer,
                                                       const std::string& proof) {
  const MutexLock held(lock_);
  const auto found = arrivals_.find(session);
  if (found == arrivals_.end()) return tl::unexpected(ApiError{404, "no such move comes here"});
  Arrival& coming = *found->second;
  if (!is_master(peer.uid, {.user = coming.user}, ::geteuid()))
    return tl::unexpected(ApiError{403, "it is another user's"});
  const auto waits = std::exchange(coming.proof, std::nullopt);
  if (!waits) return tl::unexpected(not_proved(coming.name, "no proof is waited for"));
  auto agreed = waits->accept(proof);
  if (!agreed) {
    log(LogLevel::warning, "peer-not-proved", {{"domain", coming.name}, {"error", agreed.error()}});
    return tl::unexpected(not_proved(coming.name, agreed.error()));
  }
  log(LogLevel::info, "peer-proved", {{"domain", coming.name}, {"peer", agreed->peer}, {"session", session}});
  coming.agreed = std::make_shared<const MoveAgreement>(std::move(*agreed));
  changed_.notify_all();
  return coming.agreed->peer;
}

tl::expected<std::string, std::string> Domains::reach(const std::string& to, int connection) const {
  if (machine().peers.empty())
    return tl::unexpected(
        std::string("'peers' in [migration] of machine.toml is missing: other machines are reached by "
                    "tls:// if they stand there"));
  return reach_machine(around_.transfer, transfer_order(), to, connection);
}

nlohmann::json Domains::transfer_order() const {
  return toolstack::transfer_order(around_.secrets.machine, machine().peers);
}

std::shared_ptr<const MoveAgreement> Migrations::agreed(const Domain& domain, const std::string& session) const {
  const MutexLock held(domains_.lock_);
  return domain.agreed != nullptr && domain.agreed->session == session ? domain.agreed : nullptr;
}

std::shared_ptr<const MoveAgreement> Migrations::agreed(const std::string& session) const {
  const MutexLock held(lock_);
  const auto found = arrivals_.find(session);
  return found == arrivals_.end() ? nullptr : found->second->agreed;
}

}  // namespace cloister::toolstack
