#include "daemon/verdicts.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/durable.hpp"
#include "host/mutex.hpp"
#include "host/own_folder.hpp"
#include "protocol/moving.hpp"
#include "text/hex.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {
constexpr const char* verdicts_name = "migrations";
constexpr unsigned verdicts_mode = 0700;

/// Of the folder, which is one for each process. No other lock is taken with it.
Mutex verdicts_lock;
}  // namespace

std::string write_verdict(const Verdict& verdict) {
  nlohmann::json object{{"verdict", verdict.commit ? "commit" : "abort"},
                        {"paused", verdict.paused},
                        {"uuid", verdict.uuid},
                        {"name", verdict.name},
                        {"user", verdict.user}};
  if (!verdict.done.empty()) object["done"] = verdict.done;
  return json_text(object);
}

tl::expected<Verdict, std::string> read_verdict(std::string_view text) {
  const auto object = TRY(parse_object(text));
  Verdict verdict;
  std::string word;
  JsonFields fields(object);
  fields.text("verdict", word).boolean("paused", verdict.paused).text("uuid", verdict.uuid).text("name", verdict.name);
  fields.number("user", verdict.user);
  if (fields.has("done")) fields.text("done", verdict.done);
  arch::Bytes32 digest{};
  if (fields.ok() && !verdict.done.empty() && !from_hex(verdict.done, digest))
    fields.fail("'done': expected 64 hexadecimal digits");
  if (fields.ok() && word != "commit" && word != "abort") fields.fail("'verdict': expected commit or abort");
  if (!fields.ok()) return tl::unexpected(fields.error());
  verdict.commit = word == "commit";
  return verdict;
}

tl::expected<Verdicts, std::string> Verdicts::open(const std::string& state) {
  return Verdicts(state, TRY(open_own_folder(state, Making::never, verdicts_mode)));
}

tl::expected<Fd, std::string> Verdicts::folder() const {
  struct stat status {};
  if (::fstatat(state_.get(), verdicts_name, &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) return Fd();
  return open_own_subfolder(state_.get(), verdicts_name, Making::never, verdicts_mode, path_);
}

tl::expected<std::optional<Verdict>, std::string> Verdicts::read(int folder, const std::string& session) {
  const auto text = TRY(read_own_text(folder, session));
  if (!text) return std::nullopt;
  auto verdict = read_verdict(*text);
  if (!verdict) return tl::unexpected(session + ": " + verdict.error());
  return std::move(*verdict);
}

/// Names in it, and its own: who made or wrote them may not have come to this.
tl::expected<void, std::string> Verdicts::sync(int folder) const {
  if (::fsync(state_.get()) != 0 || ::fsync(folder) != 0)
    return tl::unexpected("cannot sync " + path_ + "/" + verdicts_name + ": " + std::strerror(errno));
  return {};
}

tl::expected<std::optional<Verdict>, std::string> Verdicts::find(const std::string& session) const {
  const MutexLock held(verdicts_lock);
  const auto here = TRY(folder());
  if (!here) return std::nullopt;
  auto verdict = TRY(read(here.get(), session));
  if (verdict) TRY(sync(here.get()));
  return verdict;
}

tl::expected<Verdict, std::string> Verdicts::put(const std::string& session, const Verdict& verdict) const {
  const MutexLock held(verdicts_lock);
  const auto here = TRY(open_own_subfolder(state_.get(), verdicts_name, Making::missing, verdicts_mode, path_));
  const auto before = TRY(read(here.get(), session));
  TRY(sync(here.get()));
  if (before) return *before;
  TRY(write_durably(here.get(), session, write_verdict(verdict)));
  return verdict;
}

tl::expected<void, std::string> Verdicts::remove(const std::string& session) const {
  const MutexLock held(verdicts_lock);
  const auto here = TRY(folder());
  if (!here) return {};
  return remove_durably(here.get(), session);
}

std::size_t Verdicts::tidy(unsigned user) const {
  std::size_t left = 0;
  const MutexLock held(verdicts_lock);
  const auto here = folder();
  if (!here || !*here) return left;
  for (const std::string& name : names_in(here->get()).value_or(std::vector<std::string>())) {
    if (is_move_session(unfinished_of(name))) ::unlinkat(here->get(), name.c_str(), 0);
    if (!is_move_session(name)) continue;
    const auto verdict = read(here->get(), name);
    if (!verdict || !*verdict) continue;
    if (!(*verdict)->commit) ::unlinkat(here->get(), name.c_str(), 0);
    left += (*verdict)->commit && (*verdict)->user == user ? 1 : 0;
  }
  return left;
}

}  // namespace cloister::toolstack
