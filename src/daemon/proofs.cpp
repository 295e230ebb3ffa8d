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

}  // namespace

std::string Migrations::why_enclaves_stay(const Domain& domain) const {
  const DomainRecord& record = domain.record;
  if (std::string why = Domains::why_enclaves_stay(domain); !why.empty()) return why;
  if (!domain.page->move_knows_enclaves()) return "its process is an earlier version's, and does not know how";
  if (record.platform->keys == SgxPlatform::Keys::machine)
    return "its keys are this machine's (sgx_platform = \"machine\"), which no other machine has";
  return "";
}

Migrations::Done Migrations::offer_enclaves(Domain& domain, Offer& offer, const std::optional<PublicKey>& target) {
  const MutexLock held(domains_.lock_);
  if (domain.moves()) return tl::unexpected(not_proved(offer.name, "it is on its way already"));
  offer.enclaves = MovedEnclaves::keep;
  domain.offered = nullptr;
  constexpr const char* otherwise = "; without them the domain can go (--enclaves=lose)";
  if (const std::string stay = why_enclaves_stay(domain); !stay.empty())
    offer.refused.push_back("its enclaves cannot go elsewhere: " + stay + otherwise);
  if (domains_.machine().peers.empty())
    offer.refused.push_back(std::string("enclaves go on at machines alone that machine.toml names, and 'peers' in its "
                                        "[migration] is missing at its source") +
                            otherwise);
  const auto& peers = domains_.machine().peers;
  if (target && std::ranges::find(peers, *target, &MovePeer::key) == peers.end() && !peers.empty())
    offer.refused.push_back(unlisted(*target, "its target"));
  if (const auto& platform = domain.record.platform) {
    std::vector<KeyName> names{KeyName::of_domain(domain.record.uuid)};
    if (platform->keys == SgxPlatform::Keys::group) names.push_back(KeyName::of_group(platform->group));
    for (const KeyName& name : names) offer.keys[to_text(name)] = domains_.keys_.id_of(name);
  }
  auto leaving = std::make_unique<Domain::Leaving>(
      Domain::Leaving{MoveSourceProof(domains_.around_.secrets.machine), subject_of(offer)});
  offer.hello = leaving->proof.hello();
  if (offer.refused.empty()) domain.offered = std::move(leaving);
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
    if (domain->moves()) return tl::unexpected(not_proved(name, "it is on its way already"));
    offered = std::move(domain->offered);
  }
  if (offered == nullptr) return tl::unexpected(not_proved(name, "it was not offered with its enclaves"));
  auto proved = offered->proof.prove(answer, session, offered->subject, domains_.machine().peers,
                                     source_digests(domains_.around_.secrets.moves, session, offered->subject.uuid));
  if (!proved) {
    log(LogLevel::warning, "peer-not-proved", {{"domain", name}, {"error", proved.error()}});
    return tl::unexpected(not_proved(name, proved.error()));
  }
  log(LogLevel::info, "peer-proved", {{"domain", name}, {"peer", proved->agreed.peer}, {"session", session}});
  Proof proof{.text = std::move(proved->proof), .peer = proved->agreed.peer, .keys = {}};
  const MutexLock held(domains_.lock_);
  const DomainRecord& record = domain->record;
  const HeldKey* const own = domains_.keys_.find(KeyName::of_domain(record.uuid));
  const bool grouped = record.platform && record.platform->keys == SgxPlatform::Keys::group;
  const HeldKey* const group = grouped ? domains_.keys_.find(KeyName::of_group(record.platform->group)) : nullptr;
  if (own == nullptr || (grouped && group == nullptr)) return tl::unexpected(not_proved(name, "it has no keys"));
  MovedKeys keys;
  keys.boot = record.boot;
  keys.power_ons = own->key.power_ons;
  keys.own = own->key.key;
  if (group != nullptr) keys.group = group->key.key;
  proof.keys = wrap_moved(keys, proved->agreed.secrets.keys, session);
  domain->agreed = std::make_shared<const MoveAgreement>(std::move(proved->agreed));
  domain->sealed_by_it = false;
  return proof;
}

tl::expected<std::string, ApiError> Migrations::accept(const std::string& session, const Peer& peer,
                                                       const std::string& proof, const std::string& keys) {
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
  auto unwrapped = unwrap_moved(keys, agreed->secrets.keys, session);
  if (!unwrapped) return tl::unexpected(not_proved(coming.name, unwrapped.error()));
  log(LogLevel::info, "peer-proved", {{"domain", coming.name}, {"peer", agreed->peer}, {"session", session}});
  coming.keys = std::move(*unwrapped);
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
