// A domain that leaves. Its process sends it and knows how far it is (vmm/mover.hpp); here it is seen to that it runs
// elsewhere only after the record says so, that it then goes on by a word alone, and that it ends when it is known to
// run elsewhere. Nothing hangs on this daemon: without it the process sends on, and goes on here if nobody holds it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <filesystem>
#include <utility>

#include "arch/try.hpp"
#include "config/changes.hpp"
#include "daemon/migrations.hpp"
#include "daemon/shape.hpp"
#include "daemon/version_frames.hpp"
#include "host/log.hpp"
#include "host/memfd.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t longest_peer = 256;

const char* word_of(MovePhase phase) {
  switch (phase) {
    case MovePhase::none: return "none";
    case MovePhase::copying: return "copying";
    case MovePhase::sent: return "sent";
    case MovePhase::held: return "in-doubt";
    case MovePhase::over: return "over";
  }
  return "over";
}

const char* word_of(StoodStill why) {
  switch (why) {
    case StoodStill::not_yet: return "";
    case StoodStill::near_enough: return "near-enough";
    case StoodStill::no_nearer: return "no-nearer";
    case StoodStill::most_rounds: return "most-rounds";
  }
  return "";
}

ApiError not_moved(const Domain& domain, const std::string& why, int status = 409) {
  return {status, "'" + domain.record.name + "'" + why};
}

}  // namespace

std::optional<MoveInfo> Domains::move_of(const Domain& domain) const {
  const MovePhase phase = domain.page == nullptr ? MovePhase::none : domain.page->move_phase();
  if (phase == MovePhase::none) return std::nullopt;
  const MoveCounts& counts = *domain.page->move();
  const MoveMore* const more = domain.page->move_more();
  MoveInfo info{.session = domain.page->move_session(),
                .peer = domain.record.move ? domain.record.move->peer : std::string(),
                .phase = word_of(phase),
                .round = counts.round,
                .bytes = counts.bytes,
                .bytes_left = counts.pages_left * arch::page_size,
                .bytes_a_second = counts.bytes_a_second,
                .dirty_bytes_a_second = counts.dirty_bytes_a_second,
                .pause_ms = counts.pause_us / 1000,
                .epc_bytes_left = more == nullptr ? 0 : more->epc_left * arch::page_size,
                .stood_still = word_of(domain.page->stood_still()),
                .waits_for = phase == MovePhase::sent ? domain.page->move_error() : std::string(),
                .failed = phase == MovePhase::over ? domain.page->move_error() : std::string()};
  if (const auto peer = peers_.find(domain.record.uuid); info.peer.empty() && peer != peers_.end())
    info.peer = peer->second;
  return info;
}

tl::expected<std::shared_ptr<Domain>, ApiError> Migrations::leaving(const std::string& key) const {
  const MutexLock held(domains_.lock_);
  auto domain = domains_.lookup(key);
  if (domain == nullptr) return tl::unexpected(domains_.absent(key));
  if (const auto no = domains_.not_now(*domain)) return tl::unexpected(*no);
  const std::string why = !domain->unread.empty()   ? ": its record cannot be understood: " + domain->unread
                          : domain->page == nullptr ? ": it does not answer"
                          : domain->page->move() == nullptr
                              ? ": its process is an earlier version's, and does not know how"
                              : "";
  if (!why.empty()) return tl::unexpected(not_moved(*domain, why));
  return domain;
}

tl::expected<Offer, ApiError> Migrations::offer(const std::string& key, std::optional<MovedEnclaves> enclaves,
                                                const std::optional<PublicKey>& target) {
  const auto domain = TRY(leaving(key));
  DomainRecord record;
  DomainConfig config;
  {
    const MutexLock held(domains_.lock_);
    record = domain->record;
    config = domain->config;
  }
  Offer offer{.uuid = record.uuid,
              .name = record.name,
              .config = record.config,
              .file = record.file,
              .directory = record.directory};
  if (config.name != record.name) {
    auto text = renamed(record.config, record.name);
    if (!text) return tl::unexpected(not_moved(*domain, ": " + text.error()));
    offer.config = std::move(*text);
  }
  for (const auto& [what, name, digest] : {std::tuple{"kernel", &config.kernel, &offer.kernel_sha256},
                                           std::tuple{"ramdisk", &config.ramdisk, &offer.ramdisk_sha256}}) {
    if (name->empty()) continue;
    const std::string path = (std::filesystem::path(record.directory) / *name).string();
    auto found = domains_.opener_.digest(record.owner, path, longest_image);
    if (!found)
      return tl::unexpected(
          not_moved(*domain, fmt::format(": its {} '{}', which a reboot needs: {}", what, path, found.error())));
    *digest = std::move(found->sha256);
  }
  auto shape = shape_of_domain(domains_.silicon(), config, record.package, record.grants);
  if (!shape) return tl::unexpected(not_moved(*domain, ": " + shape.error(), 500));
  offer.shape = std::move(*shape);
  if (!config.disks.empty()) offer_disks(record, config, offer);
  offer_definition(*domain, offer);
  if (enclaves.value_or(record.platform ? MovedEnclaves::keep : MovedEnclaves::lose) == MovedEnclaves::keep)
    TRY(offer_enclaves(*domain, offer, target));
  return offer;
}

Migrations::Done Migrations::depart(const std::string& key, const Departure& how, int connection) {
  const auto domain = TRY(leaving(key));
  if (!is_move_session(how.session)) return tl::unexpected(ApiError{400, "'session': expected a target's"});
  if (how.peer.size() > longest_peer)
    return tl::unexpected(ApiError{400, fmt::format("'to': expected {} bytes at most", longest_peer)});
  DomainRecord record;
  std::string definition;
  std::shared_ptr<const MoveAgreement> agreed;
  {
    const MutexLock held(domains_.lock_);
    std::map<std::string, std::string> targets;
    if (const auto why = why_disks_stay(domain->record, domain->config, targets); !why.empty())
      return tl::unexpected(not_moved(*domain, ": " + why.front()));
    if (domain->record.saving) return tl::unexpected(not_moved(*domain, " is being saved"));
    if (domain->agreed != nullptr && domain->agreed->session == how.session) {
      // A second stream would have the first one's key and counters.
      if (std::exchange(domain->sealed_by_it, true))
        return tl::unexpected(
            not_moved(*domain, ": what both machines have agreed on was used for a stream: it is to be offered anew"));
      agreed = domain->agreed;
    }
    record = domain->record;
    definition = domain->offered_definition;
    domains_.peers_[record.uuid] = how.peer;
  }
  std::vector<int> descriptors{connection};
  Fd order;
  if (agreed != nullptr) {
    order = sealed_memfd(
        "cloister-order",
        write_move_order({.session = exporting(*agreed), .key = agreed->secrets.stream, .id = agreed->secrets.seal}));
    if (!order) return tl::unexpected(not_moved(*domain, ": no memory for what its process is told", 500));
    descriptors.push_back(order.get());
  }
  const auto is_leaving = [&](bool leaves) {
    const MutexLock held(domains_.lock_);
    domain->sharing.leaving += leaves ? 1 : -1;
  };
  is_leaving(true);
  if (agreed != nullptr) VersionFrames::lend(domains_, domain);
  const auto begun = domains_.say(record,
                                  {{"verb", "move"},
                                   {"session", how.session},
                                   {"downtime", how.limits.downtime_ms},
                                   {"bandwidth", how.limits.bandwidth_mib}},
                                  descriptors);
  is_leaving(false);
  if (!begun) return tl::unexpected(begun.error());
  {
    const MutexLock held(domains_.lock_);
    domain->left_with = {.session = how.session, .definition = std::move(definition)};
  }
  log(LogLevel::info, "domain-leaves",
      {{"domain", record.name}, {"id", std::to_string(record.id)}, {"to", how.peer}, {"session", how.session}});
  return {};
}

Migrations::Done Migrations::set_record(Domain& domain, std::optional<MoveRecord> move) {
  const MutexLock held(domains_.lock_);
  if (domain.life.over()) return tl::unexpected(not_moved(domain, " has ended", 404));
  DomainRecord next = domain.record;
  next.move = std::move(move);
  if (next == domain.record) return {};
  if (auto kept = domains_.around_.records->put(next); !kept)
    return tl::unexpected(not_moved(domain, ": " + kept.error(), 500));
  domain.record = std::move(next);
  return {};
}

Migrations::Done Migrations::clear_record(Domain& domain, const std::string& session, Clearing when) {
  const MutexLock held(domains_.lock_);
  if (!domain.record.move || domain.record.move->session != session) return {};
  if (when == Clearing::unless_held && domain.page != nullptr && domain.page->move_phase() == MovePhase::held)
    return {};
  if (domain.life.over()) return tl::unexpected(not_moved(domain, " has ended", 404));
  DomainRecord next = domain.record;
  next.persistent = next.persistent || (next.move->arrives && next.move->defined);
  next.move.reset();
  if (auto kept = domains_.around_.records->put(next); !kept)
    return tl::unexpected(not_moved(domain, ": " + kept.error(), 500));
  domain.record = std::move(next);
  return {};
}

tl::expected<Migrations::Held, ApiError> Migrations::hold(const std::string& key, const std::string& session) {
  const auto domain = TRY(leaving(key));
  DomainRecord record;
  MoveRecord move{.session = session};
  {
    const MutexLock held(domains_.lock_);
    const MovePhase phase = domain->page->move_phase();
    if (domain->page->move_session() != session || (phase != MovePhase::sent && phase != MovePhase::held))
      return tl::unexpected(not_moved(*domain, " goes on here: nothing of it is to be held"));
    record = domain->record;
    move.peer = domains_.peers_[record.uuid];
    if (const Defined* const defined = domains_.definition_of(*domain)) move.defined = defined->definition;
    // One that asks again changes nothing of what is known by now.
    if (record.move && record.move->session == session) {
      move = *record.move;
    } else if (domain->page->move_has_enclaves()) {
      if (domain->agreed != nullptr && domain->agreed->session == session) move.digests = domain->agreed->digests;
      if (!move.digests)
        return tl::unexpected(not_moved(
            *domain, " goes on here: this daemon was started anew since its enclaves were to go on elsewhere"));
    }
  }
  // First: whatever starts this domain anew, after the host's end, knows that it may run elsewhere.
  TRY(set_record(*domain, move));
  // From now on its definition is as it is.
  const bool again = record.move && record.move->session == session;
  if (!again && !left_with_definition(*domain, session)) {
    TRY(clear_record(*domain, session, Clearing::unless_held));
    return tl::unexpected(not_moved(
        *domain, " goes on here: since it was offered its definition was changed, or this daemon started anew"));
  }
  const auto answer = domains_.say(record, {{"verb", "move-hold"}, {"session", session}});
  if (!answer) {
    // One that did not answer may have heard: its page says it.
    if (answer.error().status == 409) TRY(clear_record(*domain, session, Clearing::unless_held));
    return tl::unexpected(answer.error());
  }
  // Somebody may have taken it for one that was not held (settle()), before it was.
  const auto cleared = [&] {
    const MutexLock held(domains_.lock_);
    return !domain->record.move;
  };
  if (cleared()) TRY(set_record(*domain, move));
  Held how{.paused = answer->body.value("paused", false)};
  if (move.digests) how.word = own_word(MoveWord::held, session, record.uuid);
  return how;
}

/// Of a move of enclaves, as its source or its target.
std::string Migrations::own_word(MoveWord word, const std::string& session, const std::string& uuid) const {
  return text_of_token(move_token(domains_.around_.secrets.moves, word, session, uuid));
}

tl::expected<std::string, ApiError> Migrations::leave(const std::string& key, const std::string& session, bool commit,
                                                      const std::string& word) {
  const SaidOfDoubt said{.session = session, .verdict = commit ? MoveWord::commit : MoveWord::abort, .word = word};
  if (auto settled = settle_doubt(key, said)) return std::move(*settled);
  const auto domain = TRY(leaving(key));
  DomainRecord record;
  std::optional<MoveRecord> move;
  {
    const MutexLock held(domains_.lock_);
    record = domain->record;
    if (domain->page->move_session() != session)
      return tl::unexpected(not_moved(*domain, ": the verdict is about another move of it"));
    const bool is_held = domain->page->move_phase() == MovePhase::held;
    if (commit && !is_held) return tl::unexpected(not_moved(*domain, " goes on here: it was not held"));
    move = record.move;
    if (is_held && move && move->given_up)
      return tl::unexpected(not_moved(*domain, ": its enclaves were given up: `cloister migrate --resolve --here`"));
    // Nobody's else: what runs there would run here, too.
    if (is_held && move && move->digests && !is_word(word, commit ? move->digests->commit : move->digests->abort))
      return tl::unexpected(
          not_moved(*domain, ": its enclaves may run at its target by now, whose own word alone says whether they do"));
  }
  if (commit) {
    const bool alive = move && move->digests;
    if (alive || (move && move->defined)) {
      move->gone = true;
      TRY(set_record(*domain, move));
    }
    {
      const MutexLock held(domains_.lock_);
      domain->fate = "migrated";
    }
    domains_.kill_and_wait(domain);
    const MutexLock held(domains_.lock_);
    if (!domain->life.is(LifeState::gone)) return tl::unexpected(not_moved(*domain, ": its process does not end", 500));
    return alive ? own_word(MoveWord::done, session, record.uuid) : std::string();
  }
  nlohmann::json end{{"verb", "move-end"}};
  if (read_token(word)) end["token"] = word;
  TRY(domains_.say(record, end));
  log(LogLevel::info, "domain-stays", {{"domain", record.name}, {"id", std::to_string(record.id)}});
  TRY(clear_record(*domain, session));
  return std::string();
}

/// Its keys are other ones from now on, and on the disk, before its process has them: what may run elsewhere has the
/// ones before. Who is told that twice has others once more.
Migrations::Done Migrations::stay(const std::string& key, const std::string& session) {
  if (auto settled = settle_doubt(key, {.session = session})) return settled->map([](const std::string&) {});
  const auto domain = TRY(leaving(key));
  DomainRecord record;
  LaunchKeys keys;
  {
    const MutexLock held(domains_.lock_);
    record = domain->record;
    if (domain->page->move_session() != session || domain->page->move_phase() != MovePhase::held || !record.move)
      return tl::unexpected(not_moved(*domain, " is not in doubt about this move"));
    if (record.move->digests) {
      if (auto renewed = domains_.keys_.renew(KeyName::of_domain(record.uuid)); !renewed)
        return tl::unexpected(not_moved(*domain, ": " + renewed.error(), 500));
      keys = domains_.keys_.launch_keys(record.uuid, *record.platform);
      record.boot = keys.boot;
      record.move->given_up = true;
      if (auto kept = domains_.around_.records->put(record); !kept)
        return tl::unexpected(not_moved(*domain, ": " + kept.error(), 500));
      domain->record = record;
    }
  }
  if (!record.move->digests) {
    TRY(leave(key, session, false, ""));
    return {};
  }
  const Fd secrets = sealed_memfd(
      "cloister-keys", write_platform_secrets({.root = keys.root, .paging = keys.paging, .boot = keys.boot}));
  if (!secrets) return tl::unexpected(not_moved(*domain, ": no memory for its keys", 500));
  const int descriptors[] = {secrets.get()};
  TRY(domains_.say(record, {{"verb", "move-start-over"}}, descriptors));
  log(LogLevel::warning, "enclaves-given-up", {{"domain", record.name}, {"id", std::to_string(record.id)}});
  return clear_record(*domain, session);
}

/// The process itself knows whether somebody has had it hold meanwhile.
Migrations::Done Migrations::cancel(const std::string& key) {
  const auto domain = TRY(leaving(key));
  DomainRecord record;
  {
    const MutexLock held(domains_.lock_);
    record = domain->record;
  }
  TRY(domains_.say(record, {{"verb", "move-end"}, {"cancel", true}}));
  return {};
}

}  // namespace cloister::toolstack
