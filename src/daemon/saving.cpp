// Saving: the file is made with the rights of who asks, before anything is paused, and the domain's process writes it
// and says in the domain's page what became of it. Then the domain ends, or, of a snapshot, goes on. The record knows
// the file until it has its name, or is removed: a thread looks on as long as the domain lives, and its end, or the
// next daemon, sees to the rest. So nothing hangs on this daemon: without it the process ends once all is on the disk,
// or lets its guest go on.
#include "protocol/saving.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "arch/try.hpp"
#include "config/changes.hpp"
#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "daemon/hmac.hpp"
#include "daemon/saved_file.hpp"
#include "daemon/ticket_list.hpp"
#include "daemon/version_frames.hpp"
#include "host/log.hpp"
#include "host/memfd.hpp"
#include "text/shown.hpp"
#include "text/utc.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::milliseconds between_looks{50};
/// Of those that are over: who asked has long seen it.
constexpr std::size_t most_remembered = 256;

/// Why there can be no snapshot of it, of which a copy may go on when the domain has.
std::string why_no_snapshot(const DomainConfig& config) {
  const auto written = std::ranges::find(config.disks, false, &DiskConfig::read_only);
  if (written == config.disks.end()) return "";
  return fmt::format(
      "its disk {} is not part of a snapshot and changes when it goes on: there are snapshots of domains alone whose "
      "disks are read-only",
      written->vdev);
}

}  // namespace

/// The key of a file is its id's, by the secret that is this state folder's alone (HMAC, RFC 2104, as RFC 5869's
/// HKDF-Expand has it for one block).
stream::SealKey key_of_file(const WrapSecret& wrap, const stream::SealId& id) {
  std::string info = "cloister saved domain ";
  info.append(reinterpret_cast<const char*>(id.data()), id.size());
  info += '\1';
  return hmac_sha256(wrap.bytes, info);
}

ApiError unusable_file(const std::string& path, const std::string& why) {
  return {400, fmt::format("'{}': {}", cut_path(path), why)};
}

tl::expected<std::string, ApiError> absolute_path(const FileRequest& request) {
  const std::filesystem::path file = request.file, directory = request.directory;
  for (const std::string* const text : {&request.file, &request.directory}) {
    if (text->size() > longest_request_path)
      return tl::unexpected(
          ApiError{400, fmt::format("a path of {} bytes, expected {} at most", text->size(), longest_request_path)});
  }
  if (file.empty()) return tl::unexpected(ApiError{400, "'file': expected a path"});
  if (file.is_relative() && !directory.is_absolute())
    return tl::unexpected(ApiError{400, "'file': a relative path, without a 'directory' that is none"});
  return (directory / file).string();
}

Domains::Result Domains::save(const std::string& key, const FileRequest& request) {
  const std::string path = TRY(absolute_path(request));
  return save_in(path, key, request);
}

Domains::Result Domains::save_in(const std::string& path, const std::string& key, const FileRequest& request) {
  Pointer domain;
  DomainRecord record;
  std::string called;
  bool alive = false;
  {
    const MutexLock held(lock_);
    domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(absent(key));
    record = domain->record;
    if (const auto no = not_now(*domain)) return tl::unexpected(*no);
    const std::string why = !domain->unread.empty()   ? "its record cannot be understood: " + domain->unread
                            : domain->page == nullptr ? "it does not answer"
                            : domain->page->save() == nullptr
                                ? "its process is an earlier version's, and does not know how"
                                : "";
    if (!why.empty()) return tl::unexpected(ApiError{409, "'" + record.name + "': " + why});
    if (record.saving) return tl::unexpected(ApiError{409, "'" + record.name + "' is being saved"});
    called = domain->config.name;
    if (request.enclaves != Enclaves::lose) {
      const std::string stay = why_enclaves_stay(*domain);
      if (!stay.empty() && request.enclaves == Enclaves::keep)
        return tl::unexpected(ApiError{409, "'" + record.name + "': its enclaves cannot be saved: " + stay});
      alive = stay.empty();
    }
    if (alive) {
      const bool master = is_master(record.owner.user, {}, ::geteuid());
      const auto theirs = std::ranges::count_if(read_tickets(*around_.records), [&](const auto& one) {
        return one.second && one.second->user == record.owner.user;
      });
      const std::size_t most = master ? most_tickets_of_a_master : most_tickets_of_a_user;
      if (static_cast<std::size_t>(theirs) >= most)
        return tl::unexpected(ApiError{
            507, fmt::format("user {} has {} tickets of files from which enclaves have not gone on: `cloister tickets` "
                             "lists them, and erases those of files that are away",
                             record.owner.user, theirs)});
    }
    if (request.then == AfterSave::goes_on) {
      const std::string no = why_no_snapshot(domain->config);
      if (!no.empty()) return tl::unexpected(ApiError{409, "'" + record.name + "': " + no});
    }
  }
  SavingOrder order{.id = random_secret(),
                    .config = {.uuid = record.uuid,
                               .name = record.name,
                               .config = record.config,
                               .file = record.file,
                               .directory = record.directory,
                               .user = record.owner.user}};
  order.key = key_of_file(around_.secrets.wrap, order.id);
  if (called != record.name) {
    auto text = renamed(record.config, record.name);
    if (!text) return tl::unexpected(ApiError{409, "'" + record.name + "': " + text.error()});
    order.config.config = std::move(*text);
  }
  SavingRecord with;
  std::optional<Ticket> ticket;
  if (alive) {
    ticket = new_ticket(record.uuid, record.boot);
    ticket->name = record.name;
    ticket->file = path;
    ticket->user = record.owner.user;
    ticket->made = utc_now();
    if (record.platform && record.platform->keys == SgxPlatform::Keys::group) ticket->group = record.platform->group;
    const vmx::MoveToken take_back = random_secret();
    order.session = exporting(*ticket, take_back);
    with.ticket = ticket_name(order.id);
    with.token = text_of_token(take_back);
  }
  const Fd memory = sealed_memfd("cloister-order", write_order(order));
  if (!memory) return tl::unexpected(ApiError{500, "no memory for what its process is told"});
  auto file = opener_.create(request.owner, path, request.replaces);
  if (!file) return tl::unexpected(unusable_file(path, file.error()));
  file->record.ticket = with.ticket;
  file->record.token = with.token;
  file->record.snapshot = request.then == AfterSave::goes_on;
  if (auto begun =
          begin_save(domain, order, file->record, ticket ? write_ticket(*ticket) : "", {file->fd.get(), memory.get()});
      !begun) {
    (void)opener_.settle(file->record, FileOpener::Whole::removed);
    return tl::unexpected(begun.error());
  }
  log(LogLevel::info, "domain-saving", {{"domain", record.name}, {"id", std::to_string(record.id)}, {"file", path}});
  const MutexLock held(lock_);
  return info(*domain);
}

/// An error: it goes on as if it had not been asked. Else look_on() does the rest.
tl::expected<void, ApiError> Domains::begin_save(const Pointer& domain, const SavingOrder& order,
                                                 const SavingRecord& saving, const std::string& ticket,
                                                 std::array<int, 2> descriptors) {
  DomainRecord record;
  {
    const MutexLock held(lock_);
    const auto refused = [&](int status, const std::string& why) {
      return tl::unexpected(ApiError{status, "'" + domain->record.name + "'" + why});
    };
    if (domain->life.over()) return refused(404, " has ended");
    if (domain->record.saving) return refused(409, " is being saved");
    domain->record.saving = saving;
    if (auto kept = around_.records->put(domain->record); !kept) {
      domain->record.saving.reset();
      return refused(500, ": " + kept.error());
    }
    if (!ticket.empty()) {
      if (auto kept = around_.records->put_ticket(saving.ticket, ticket); !kept) {
        forget_save(*domain);
        return refused(500, ": " + kept.error());
      }
    }
    record = domain->record;
    domain->page->offer_save(order.offer());
  }
  if (!ticket.empty()) VersionFrames::lend(*this, domain);
  const auto begun = say(record, {{"verb", saving.snapshot ? "snapshot" : "save"}}, descriptors);
  const MutexLock held(lock_);
  // It may have begun all the same, and answered too late.
  if (!begun && (domain->life.over() || domain->page->withdraw_save())) {
    if (!domain->life.over()) forget_save(*domain);
    return tl::unexpected(begun.error());
  }
  look_on(domain);
  return {};
}

void Domains::forget_save(Domain& domain) {
  (void)spend_ticket(domain.record.saving->ticket);
  domain.record.saving.reset();
  keep(domain.record);
}

void Domains::look_on(const Pointer& domain) {
  const DomainRecord& record = domain->record;
  if (!record.saving || domain->page == nullptr || domain->page->save() == nullptr) return;
  for (auto at = saves_.begin(); saves_.size() >= most_remembered && at != saves_.end();)
    at = at->second.going ? std::next(at) : saves_.erase(at);
  DomainSave& save = saves_[record.uuid];
  if (save.going && save.domain == domain) return;
  save = {.domain = domain,
          .file = record.saving->file,
          .going = true,
          .enclaves = !record.saving->ticket.empty(),
          .snapshot = record.saving->snapshot,
          .last = info(*domain)};
  save.last.page = nullptr;
  save.last.memory = nullptr;
  std::erase_if(followers_,
                [](const auto& one) { return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
  // Without a thread for it, its end sees to the file.
  followers_.push_back(std::async(std::launch::async | std::launch::deferred, [this, domain] { follow(domain); }));
}

void Domains::follow(const Pointer& domain) {
  const DomainPage& page = *domain->page;
  // What it has not taken by now it never will, for who asked it has its answer, or is a daemon that was.
  bool none = false;
  const auto goes_on = [&] {
    none = page.withdraw_save() || none;
    const DomainState state = page.state();
    return none || page.save_waits() || (state != DomainState::saving && state != DomainState::ended);
  };
  SavingRecord saving;
  DomainRecord record;
  {
    const MutexLock held(lock_);
    // What the page says is nobody's to announce.
    while (!changed_.wait_for(lock_, between_looks, [&]() CLOISTER_REQUIRES(lock_) {
      return stopping_ || domain->life.over() || goes_on();
    })) {
    }
    // Its end sees to the file; or this daemon ends, and the domain is as well off without it.
    if (domain->life.over() || !goes_on()) return;
    saving = *domain->record.saving;
    record = domain->record;
  }
  const bool written = saving.snapshot && !none && page.save_error().empty();
  const auto whole = opener_.settle(saving, written ? FileOpener::Whole::named : FileOpener::Whole::removed);
  // Until then it stands still, and its record knows the token.
  while (page.save_waits() && !take_enclaves_back(record, saving)) {
    const MutexLock held(lock_);
    if (changed_.wait_for(lock_, around_.patience.retry,
                          [&]() CLOISTER_REQUIRES(lock_) { return stopping_ || domain->life.over(); }))
      return;
  }
  const MutexLock held(lock_);
  const std::string error = page.save_error();
  std::string why = !error.empty() ? error : !written ? "its process did not begin" : "";
  if (written && !whole) why = whole.error();
  if (written && whole && !*whole) why = "not all of it is in the file";
  save_ends(*domain, why, whole ? "" : whole.error());
  if (!domain->life.over()) forget_save(*domain);
}

/// Of a domain that is dead, whatever it died of: what it was is in the file, if all of it is. False: what was saved
/// for the host may be whole and has no name, and its record is to stay for the next daemon.
bool Domains::settle_save(const Domain& domain) {
  SavingRecord saving;
  std::string how;
  {
    const MutexLock held(lock_);
    if (!domain.record.saving) return true;
    saving = *domain.record.saving;
    how = how_it_ended(domain);
  }
  // What was on its way to the disk when that failed may look whole.
  const bool failed = domain.page != nullptr && !domain.page->save_error().empty();
  const auto whole = opener_.settle(saving, failed ? FileOpener::Whole::removed : FileOpener::Whole::named);
  if (whole && !*whole) (void)spend_ticket(saving.ticket);
  const MutexLock held(lock_);
  const bool is_for_host = is_host_save(paths_.saved(), saving);
  if (whole && *whole && is_for_host) host_saves_.add(saving);
  const bool settled = whole || failed || !is_for_host;
  if (!settled) host_saves_.keep_unnamed(domain.record);
  const std::string why = !whole ? whole.error() : *whole ? "" : "it has ended: " + how;
  save_ends(domain, why, whole ? "" : whole.error());
  DomainSave& save = saves_[domain.record.uuid];
  if (save.last.uuid.empty()) save.last = info(domain);
  save.last.page = nullptr;
  save.last.memory = nullptr;
  save.last.last_end = {.when = utc_now(), .how = how};
  return settled;
}

void Domains::save_ends(const Domain& domain, const std::string& why, const std::string& left) {
  const std::string& file = domain.record.saving->file;
  if (why.empty()) {
    log(LogLevel::info, domain.record.saving->snapshot ? "domain-snapshot" : "domain-saved",
        {{"domain", domain.record.name}, {"file", file}});
  } else {
    log(LogLevel::error, "domain-not-saved",
        {{"domain", domain.record.name}, {"file", file}, {"error", why}, {"left", left}});
  }
  DomainSave& save = saves_[domain.record.uuid];
  save.domain = nullptr;
  save.file = file;
  save.going = false;
  save.enclaves = !domain.record.saving->ticket.empty();
  save.snapshot = domain.record.saving->snapshot;
  save.failed = why;
}

std::optional<SaveInfo> Domains::save_of(const std::string& uuid) const {
  const auto found = saves_.find(uuid);
  if (found == saves_.end()) return std::nullopt;
  const DomainSave& save = found->second;
  SaveInfo info{.file = save.file,
                .going = save.going,
                .failed = save.failed,
                .enclaves = save.enclaves,
                .snapshot = save.snapshot};
  if (const SaveCounts* const counts = save.domain == nullptr ? nullptr : save.domain->page->save()) {
    info.bytes = counts->bytes;
    info.most_bytes = counts->most_bytes;
  }
  return info;
}

std::optional<DomainInfo> Domains::ended_by_save(const std::string& key) const {
  const auto uuid = read_uuid(key);
  const auto found = uuid ? saves_.find(*uuid) : saves_.end();
  if (found == saves_.end()) return std::nullopt;
  DomainInfo last = found->second.last;
  last.state = "ended";
  last.pid = 0;
  last.save = save_of(*uuid);
  return last;
}

}  // namespace cloister::toolstack
