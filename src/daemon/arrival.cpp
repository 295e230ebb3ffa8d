// A domain that arrives: created as any other but that it goes on from a stream, and that its guest may run only once a
// verdict says so. Its record says that from before its process could outlive this daemon: a daemon that comes later
// ends it, if there is no verdict, or lets it run.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/access.hpp"
#include "daemon/migrations.hpp"
#include "daemon/move_session.hpp"
#include "host/log.hpp"
#include "host/pidfd.hpp"
#include "host/threads.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::milliseconds between_glances{20}, between_arrival_tries{200};
/// As long as somebody brings it: a slow line is nobody's fault.
constexpr std::chrono::milliseconds to_come = std::chrono::hours(24 * 7);

bool carrier_has_gone(int socket) {
  pollfd look{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

}  // namespace

const char* name_of(ArrivalPhase phase) {
  switch (phase) {
    case ArrivalPhase::loading: return "loading";
    case ArrivalPhase::awaits_root: return "awaits-root";
    case ArrivalPhase::ready: return "ready";
    case ArrivalPhase::committed: return "committed";
    case ArrivalPhase::aborted: return "aborted";
  }
  return "aborted";
}

tl::expected<std::unique_ptr<Migrations>, std::string> Migrations::create(Domains& domains, const std::string& state) {
  auto verdicts = TRY(Verdicts::open(state));
  std::unique_ptr<Migrations> made(new Migrations(domains, std::move(verdicts)));
  made->verdicts_.tidy(~0u);
  made->settler_ = start_thread([raw = made.get()] { raw->settle(); });
  return made;
}

Migrations::~Migrations() {
  std::map<std::string, Coming> left;
  {
    const MutexLock held(lock_);
    stopping_ = true;
    left.swap(arrivals_);
    for (const auto& [session, coming] : left) {
      if (coming->phase != ArrivalPhase::loading) continue;
      const MutexLock of_domains(domains_.lock_);
      if (coming->domain->life.held()) ::pidfd_send_signal(coming->domain->process.get(), SIGKILL, nullptr, 0);
    }
  }
  changed_.notify_all();
  if (settler_.joinable()) settler_.join();
  for (const auto& [session, coming] : left) coming->thread.join();
}

tl::expected<Migrations::Arrived, ApiError> Migrations::arrive(const Offer& offer, const Owner& owner, int connection) {
  clean_up();
  if (const auto why = refusals(offer, owner); !why.empty()) {
    std::string all;
    for (const std::string& one : why) all += (all.empty() ? "" : "; ") + one;
    return tl::unexpected(ApiError{409, "'" + offer.name + "' cannot come: " + all});
  }
  std::size_t going = 0, kept = 0;
  {
    // What is unfinished is somebody's who writes it under this lock, or nobody's.
    const MutexLock held(lock_);
    kept = verdicts_.tidy(owner.user);
    for (const auto& [session, one] : arrivals_) going += one->user == owner.user ? 1 : 0;
  }
  if (going >= most_of_a_user)
    return tl::unexpected(ApiError{507, fmt::format("{} domains of user {} are coming already", going, owner.user)});
  if (kept >= most_verdicts_of_a_user)
    return tl::unexpected(
        ApiError{507, fmt::format("of {} domains of user {} that have come, the sources have not said "
                                  "that they know it: `cloister migrate --resolve` there",
                                  kept, owner.user)});
  const CreateRequest request = request_of(offer, owner);
  auto checked =
      TRY(check_request(domains_.opener_, request, domains_.machine(), domains_.processors(), CheckedFor::arrival));
  if (checked.config.uuid.empty()) checked.config.uuid = offer.uuid;
  auto coming = std::make_shared<Arrival>();
  coming->session = new_session(domains_.around_.secrets.moves);
  coming->user = owner.user;
  coming->defined = offer.defined;
  std::string answer;
  if (offer.enclaves == MovedEnclaves::keep) {
    const Secrets& ours = domains_.around_.secrets;
    auto proof =
        MoveTargetProof::answer_to(offer.hello, coming->session, subject_of(offer), ours.machine,
                                   domains_.machine().peers, target_digests(ours.moves, coming->session, offer.uuid));
    if (!proof) return tl::unexpected(ApiError{409, "'" + offer.name + "' cannot come: " + proof.error()});
    answer = proof->answer();
    coming->proof = std::move(*proof);
    coming->alive = true;
  }
  coming->images = std::move(checked.images);
  coming->images.saved = {.file = Fd(::fcntl(connection, F_DUPFD_CLOEXEC, 0)), .order = {}, .arrives = true};
  checked.images.saved.brings_keys = coming->alive;
  coming->connection = Fd(::fcntl(connection, F_DUPFD_CLOEXEC, 0));
  if (!coming->connection || !coming->images.saved.file)
    return tl::unexpected(ApiError{500, "no descriptors are left"});
  auto claim = domains_.make_room(checked.config);
  coming->domain = TRY(domains_.admit(request, checked, nullptr, claim.get()));
  coming->uuid = offer.uuid;
  coming->name = offer.name;
  claim.reset();
  log(LogLevel::info, "domain-arrives",
      {{"domain", offer.name}, {"uid", std::to_string(owner.user)}, {"session", coming->session}});
  const MutexLock held(lock_);
  try {
    coming->thread = start_thread([this, coming] { receive(coming); });
  } catch (const std::system_error& error) {
    const MutexUnlock apart(lock_);
    domains_.roll_back(coming->domain);
    return tl::unexpected(ApiError{500, error.what()});
  }
  arrivals_.emplace(coming->session, coming);
  return Arrived{coming->session, std::move(answer)};
}

void Migrations::receive(const Coming& coming) {
  if (load(coming)) wait_for_verdict(coming);
  const MutexLock held(lock_);
  // The table has it, until it ends.
  coming->connection = Fd();
  coming->domain = nullptr;
  coming->over = true;
}

/// Until all of it is there. False: it does not come.
bool Migrations::load(const Coming& coming) {
  const std::shared_ptr<Domain> domain = coming->domain;
  const auto fails = [&](const std::string& why) {
    log(LogLevel::error, "domain-not-arrived", {{"domain", domain->record.name}, {"error", why}});
    domains_.roll_back(domain);
    const MutexLock held(lock_);
    coming->phase = ArrivalPhase::aborted;
    coming->error = why;
    return false;
  };
  if (coming->alive) {
    if (const auto taken = take_keys(coming); !taken) return fails(taken.error());
  }
  auto launching = domains_.start_vmm(domain, coming->images);
  coming->images = {};
  if (!launching) return fails(launching.error());
  {
    const MutexLock held(lock_);
    if (stopping_) launching = tl::unexpected(std::string("the daemon ends"));
  }
  if (!launching) return fails(launching.error());
  if (const auto answer = launching->request("hello", to_come); !answer) return fails(answer.error().message);
  {
    const MutexLock held(domains_.lock_);
    DomainRecord running = domain->record;
    running.running = true;
    if (!coming->alive)
      running.move = MoveRecord{.session = coming->session, .arrives = true, .defined = coming->defined};
    const auto kept = domain->life.over() ? tl::unexpected(std::string("the domain's process has ended"))
                                          : domains_.around_.records->put(running);
    if (!kept) {
      const MutexUnlock apart(domains_.lock_);
      return fails(kept.error());
    }
    domain->record = std::move(running);
    domain->sharing.certain = true;
  }
  // What has enclaves is told so with the token of its verdict, and waits for that whoever dies.
  const nlohmann::json run{{"verb", "run"}, {"paused", true}};
  if (const auto started = coming->alive ? tl::expected<Packet, ControlError>()
                                         : launching->request(run, domains_.around_.patience.launch);
      !started)
    return fails(started.error().message);
  {
    const MutexLock held(domains_.lock_);
    if (!domain->life.over()) domains_.happens(*domain, LifeEvent::launched);
  }
  const MutexLock held(lock_);
  coming->phase = ArrivalPhase::ready;
  return true;
}

void Migrations::wait_for_verdict(const Coming& coming) {
  const std::shared_ptr<Domain> domain = coming->domain;
  bool paused = false, committed = false;
  std::string error;
  {
    const MutexLock held(lock_);
    while (coming->phase == ArrivalPhase::ready && !stopping_) {
      bool gone = carrier_has_gone(coming->connection.get());
      {
        const MutexLock of_domains(domains_.lock_);
        gone = gone || domain->life.over();
      }
      if (gone) {
        // A file that cannot be written is asked for again.
        const auto verdict = verdicts_.put(coming->session, {.uuid = domain->record.uuid, .user = coming->user});
        // What counts may be what somebody asked for whose answer was lost.
        if (verdict) {
          coming->phase = verdict->commit ? ArrivalPhase::committed : ArrivalPhase::aborted;
          coming->paused = verdict->paused;
          coming->error = "whoever brings it has gone";
        }
      }
      changed_.wait_for(lock_, between_glances,
                        [&]() CLOISTER_REQUIRES(lock_) { return stopping_ || coming->phase != ArrivalPhase::ready; });
    }
    // Without a verdict the next daemon ends it.
    if (coming->phase == ArrivalPhase::ready) return;
    committed = coming->phase == ArrivalPhase::committed;
    paused = coming->paused;
    error = coming->error;
  }
  if (committed) {
    let_run(domain, paused);
  } else {
    end_it(domain, error);
  }
}

void Migrations::let_run(const std::shared_ptr<Domain>& domain, bool paused) {
  std::string session;
  while (true) {
    DomainRecord record;
    {
      const MutexLock held(domains_.lock_);
      if (domain->life.over()) return;
      record = domain->record;
      if (record.move && record.move->arrives) session = record.move->session;
    }
    nlohmann::json word{{"verb", "unpause"}};
    const bool alive = record.move && record.move->digests;
    if (alive)
      word = {{"verb", "run"},
              {"paused", paused},
              {"token", own_word(MoveWord::commit, record.move->session, record.uuid)}};
    const auto said = paused && !alive ? tl::expected<Packet, ApiError>() : domains_.say(record, word);
    // That it runs by now is as good.
    const auto runs = [&] {
      const MutexLock held(domains_.lock_);
      return domain->page != nullptr && domain->page->state() != DomainState::created;
    };
    if (said || (said.error().status == 409 && runs())) break;
    log(LogLevel::warning, "domain-not-told", {{"domain", record.name}, {"error", said.error().message}});
    const MutexLock held(lock_);
    if (stopping_) return;
    pause(between_arrival_tries);
  }
  // First: its source forgets it when this record says nothing of the move any more.
  const auto is_defined = [&] {
    const MutexLock held(domains_.lock_);
    const auto& move = domain->record.move;
    return !move || !move->arrives || !move->defined || define(domains_, domain->record);
  };
  while (!is_defined()) {
    const MutexLock held(lock_);
    if (stopping_) return;
    pause(between_arrival_tries);
  }
  if (const auto kept = clear_record(*domain, session); !kept)
    log(LogLevel::error, "state-not-kept", {{"domain", domain->record.name}, {"error", kept.error().message}});
  log(LogLevel::info, "domain-arrived", {{"domain", domain->record.name}, {"id", std::to_string(domain->record.id)}});
}

void Migrations::end_it(const std::shared_ptr<Domain>& domain, const std::string& why) {
  log(LogLevel::info, "domain-not-arrived", {{"domain", domain->record.name}, {"error", why}});
  {
    const MutexLock held(domains_.lock_);
    if (domain->fate.empty()) domain->fate = "not-arrived";
  }
  domains_.kill_and_wait(domain);
}

/// Threads that have ended, and moves that nobody asks for any more: what they came to is in files, or nothing.
void Migrations::clean_up() {
  std::vector<Coming> over;
  {
    const MutexLock held(lock_);
    std::erase_if(arrivals_, [&](const auto& one) {
      if (!one.second->over) return false;
      over.push_back(one.second);
      return true;
    });
  }
  for (const Coming& one : over) one->thread.join();
}

void Migrations::pause(std::chrono::milliseconds time) {
  changed_.wait_for(lock_, time, [this]() CLOISTER_REQUIRES(lock_) { return stopping_; });
}

bool Migrations::settle(const std::shared_ptr<Domain>& domain) {
  MoveRecord move;
  bool held_here = false;
  {
    const MutexLock held(domains_.lock_);
    if (domain->life.over() || !domain->record.move) return true;
    if (!domain->life.held() || domain->page == nullptr) return false;
    move = *domain->record.move;
    held_here = domain->page->move_phase() == MovePhase::held;
  }
  if (!move.arrives) {
    if (!held_here) (void)clear_record(*domain, move.session, Clearing::unless_held);
    return true;
  }
  const auto verdict = verdicts_.find(move.session);
  if (!verdict) {
    log(LogLevel::error, "domain-not-arrived", {{"domain", domain->record.name}, {"error", verdict.error()}});
  } else if (*verdict && (*verdict)->commit) {
    let_run(domain, (*verdict)->paused);
  } else {
    end_it(domain, "the daemon ended before it had come");
  }
  return true;
}

void Migrations::settle() {
  std::vector<std::shared_ptr<Domain>> left;
  {
    const MutexLock held(domains_.lock_);
    for (const auto& [id, domain] : domains_.table_) {
      if (domain->record.move) left.push_back(domain);
    }
  }
  while (true) {
    std::erase_if(left, [this](const auto& domain) { return settle(domain); });
    const MutexLock held(lock_);
    if (stopping_ || left.empty()) return;
    pause(between_arrival_tries);
  }
}

}  // namespace cloister::toolstack
