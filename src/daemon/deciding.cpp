// What becomes of a domain that arrives: whether it runs here is said once, by a file, and told to who asks. Of one
// whose enclaves come with it a verdict is believed by its word alone (move_secrets.hpp), and so is that its source
// knows it.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/access.hpp"
#include "daemon/migrations.hpp"
#include "daemon/move_session.hpp"
#include "host/log.hpp"
#include "protocol/saving.hpp"
#include "text/hex.hpp"

namespace cloister::toolstack {

namespace {
constexpr std::chrono::milliseconds between_looks_at_record{20};
}  // namespace

ArrivalInfo Migrations::arrival(const std::string& session, const Peer& peer) const {
  const MutexLock held(lock_);
  const auto found = arrivals_.find(session);
  if (found == arrivals_.end() || !is_master(peer.uid, {.user = found->second->user}, ::geteuid()))
    return {.error = "it is not known here"};
  const Arrival& coming = *found->second;
  ArrivalPhase phase = coming.phase;
  if (phase == ArrivalPhase::loading && coming.domain != nullptr) {
    const MutexLock of_domains(domains_.lock_);
    if (coming.domain->page != nullptr && coming.domain->page->awaits_root()) phase = ArrivalPhase::awaits_root;
  }
  return {.phase = phase, .error = coming.error, .uuid = coming.uuid, .name = coming.name};
}

/// A process that has just died is not known as dead yet, and would be a domain that is nowhere.
bool Migrations::can_run(const std::string& session) {
  std::shared_ptr<Domain> domain;
  {
    const MutexLock held(lock_);
    const auto found = arrivals_.find(session);
    if (found != arrivals_.end()) domain = found->second->domain;
  }
  if (domain == nullptr) return false;
  DomainRecord record;
  {
    const MutexLock held(domains_.lock_);
    record = domain->record;
  }
  return domains_.say(record, {{"verb", "hello"}}).has_value();
}

tl::expected<SaidVerdict, ApiError> Migrations::decide(const std::string& session, const Peer& peer,
                                                       const WantedVerdict& asked) {
  if (!is_move_session(session)) return tl::unexpected(ApiError{400, "no session of a move"});
  const auto not_theirs = [&](unsigned user) { return !is_master(peer.uid, {.user = user}, ::geteuid()); };
  const ApiError forbidden{403, fmt::format("user {} may not say what becomes of another user's domain", peer.uid)};
  const auto said = [&](const Verdict& verdict, const std::string& uuid) {
    const MoveWord word = verdict.commit ? MoveWord::commit : MoveWord::abort;
    return SaidVerdict{.verdict = verdict, .word = own_word(word, session, verdict.uuid.empty() ? uuid : verdict.uuid)};
  };
  const bool answers = asked.commit && can_run(session);
  const MutexLock held(lock_);
  const auto found = arrivals_.find(session);
  if (found == arrivals_.end() || found->second->phase != ArrivalPhase::ready) {
    if (found != arrivals_.end() && not_theirs(found->second->user)) return tl::unexpected(forbidden);
    // One that was aborted, that an earlier daemon decided, or that is not known: without a file it never comes.
    if (found != arrivals_.end() && found->second->phase == ArrivalPhase::loading)
      return tl::unexpected(ApiError{409, "it has not come as a whole"});
    const auto before = verdicts_.find(session);
    if (!before) return tl::unexpected(ApiError{500, before.error()});
    if (*before && not_theirs((*before)->user)) return tl::unexpected(forbidden);
    if (!*before && !is_session_of(domains_.around_.secrets.moves, session))
      return tl::unexpected(ApiError{409, "this daemon was never its target"});
    return said(before->value_or(Verdict{}), found != arrivals_.end() ? found->second->uuid : asked.uuid);
  }
  Arrival& coming = *found->second;
  if (not_theirs(coming.user)) return tl::unexpected(forbidden);
  if (asked.commit && coming.alive && !is_word(asked.held, coming.agreed->digests.held))
    return tl::unexpected(ApiError{409, "its source has not said that it stands still"});
  Verdict wanted{.commit = asked.commit, .paused = asked.paused, .user = coming.user};
  if (coming.alive) wanted.done = in_hex(coming.agreed->digests.done);
  {
    const MutexLock of_domains(domains_.lock_);
    wanted.uuid = coming.domain->record.uuid;
    wanted.name = coming.domain->record.name;
    wanted.commit = answers && coming.domain->life.is(LifeState::running) && !stopping_;
  }
  const auto verdict = verdicts_.put(session, wanted);
  if (!verdict) return tl::unexpected(ApiError{500, verdict.error()});
  coming.phase = verdict->commit ? ArrivalPhase::committed : ArrivalPhase::aborted;
  coming.paused = verdict->paused;
  if (!verdict->commit) coming.error = "its source does not send it";
  changed_.notify_all();
  return said(*verdict, coming.uuid);
}

Migrations::Done Migrations::forget(const std::string& session, const Peer& peer,
                                    const std::optional<std::string>& word) {
  if (!is_move_session(session)) return tl::unexpected(ApiError{400, "no session of a move"});
  if (!word && !is_master(peer.uid, {.user = ~0u}, ::geteuid()))
    return tl::unexpected(ApiError{403, "only root and the daemon's own user may say that a source is gone for ever"});
  const MutexLock held(lock_);
  const auto verdict = verdicts_.find(session);
  if (!verdict) return tl::unexpected(ApiError{500, verdict.error()});
  if (!*verdict) return {};
  if (!is_master(peer.uid, {.user = (*verdict)->user}, ::geteuid()))
    return tl::unexpected(ApiError{403, "it is another user's"});
  arch::Bytes32 done{};
  if (word && !(*verdict)->done.empty() && (!from_hex((*verdict)->done, done) || !is_word(*word, done)))
    return tl::unexpected(ApiError{409, "its source has not said that it knows the verdict"});
  // Until its record says nothing of it any more, a daemon that comes later needs the file; and so does who ends it,
  // for the keys that came with it.
  const auto arrives = [&] {
    const MutexLock of_domains(domains_.lock_);
    return std::ranges::any_of(domains_.table_, [&](const auto& one) {
      const auto& move = one.second->record.move;
      return move && move->arrives && move->session == session;
    });
  };
  const auto late = std::chrono::steady_clock::now() + domains_.around_.patience.verb;
  while (arrives()) {
    if (stopping_ || std::chrono::steady_clock::now() > late)
      return tl::unexpected(ApiError{409, "it does not run yet"});
    pause(between_looks_at_record);
  }
  if (!word) log(LogLevel::warning, "verdict-forgotten", {{"session", session}, {"uid", std::to_string(peer.uid)}});
  if (auto removed = verdicts_.remove(session); !removed) return tl::unexpected(ApiError{500, removed.error()});
  return {};
}

}  // namespace cloister::toolstack
