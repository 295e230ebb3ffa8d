// `cloister host-down`, which ends all domains before the host ends them less kindly, and `cloister host-up`. What is
// said of each goes to the journal. cloisterd may end and start again meanwhile, and domains may end by themselves.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "arch/try.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "client/patience.hpp"
#include "client/print.hpp"
#include "client/stop_time.hpp"
#include "client/stop_turns.hpp"
#include "host/exit_status.hpp"
#include "host/mutex.hpp"
#include "host/threads.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr seconds between_presses{5};
constexpr int not_found = 404;

/// A host that goes down waits for 30 minutes (systemd's reboot.target and poweroff.target, JobTimeoutSec=): what is
/// waited for guests fits in, together with the ends of those that are still there then, and with a daemon's restart.
constexpr seconds for_all{25 * 60}, for_guests = for_all - seconds(60);
constexpr seconds least_wait{10};   ///< of one whose timeout is cut to fit
constexpr seconds for_an_end{5};    ///< of a domain that is ended: its EPC is cleaned
constexpr seconds longest_end{60};  ///< of one that cannot be ended at once
constexpr std::chrono::hours to_go_on{1};

struct Stopping {
  std::string name, id;
  u64 order;
  unsigned user;
  seconds shutdown_timeout;
  bool at_once;         ///< without its power button
  bool saves;           ///< if it can be
  seconds save_time{};  ///< that this may take
  seconds wait{};       ///< of the timeout, what fits
};

std::vector<Stopping> stopping_of(const Json& answer) {
  std::vector<Stopping> all;
  for (const Json& d : answer.value("domains", Json::array()))
    all.push_back({.name = d.value("name", ""),
                   .id = std::to_string(d.value("id", u64{0})),
                   .order = d.value("order", u64{0}),
                   .user = d.value("owner", Json::object()).value("uid", 0u),
                   .shutdown_timeout = seconds(d.value("shutdown_timeout_seconds", u32{0})),
                   .at_once = d.value("on_host_shutdown", "") == "destroy",
                   .saves = d.value("on_host_shutdown", "") == "save",
                   .save_time = seconds(d.value("save_seconds", u32{0}))});
  return all;
}

/// Gives each the time that fits into what is left, and returns what all can take if cloisterd answers.
seconds share_out(std::vector<Stopping>& all, std::size_t at_once, seconds left) {
  std::vector<StopTime> times;
  std::set<unsigned> users;
  for (const Stopping& d : all) {
    times.push_back({.order = d.order,
                     .longest = (d.at_once ? seconds(0) : d.shutdown_timeout) + d.save_time + for_an_end,
                     .user = d.user});
    users.insert(d.user);
  }
  const std::size_t places = places_of_a_user(at_once, users.size());
  const seconds guests = std::max(left - (for_all - for_guests), seconds(0));
  fit_into(times, places, guests, least_wait + for_an_end);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const seconds fits = times[i].longest - for_an_end;
    all[i].wait = fits > all[i].save_time ? fits - all[i].save_time : std::min(fits, least_wait);
  }
  return std::min(longest_stop(times, places), left);
}

/// The end of domains, on several threads.
class Stopper {
 public:
  /// guests_end: when no guest is waited for any more; latest: when nothing is.
  Stopper(const Api& api, Patience& patience, Clock::time_point guests_end, Clock::time_point latest)
      : api_(api), patience_(patience), guests_end_(guests_end), latest_(latest) {}

  /// So many of each user's at a time. Returns the names of those that are not stopped.
  std::vector<std::string> stop(const std::vector<Stopping>& domains, std::size_t at_once) {
    all_ = domains.size();
    std::vector<StopTurns::Domain> places;
    for (const Stopping& domain : domains) places.push_back({.user = domain.user, .order = domain.order});
    StopTurns turns(std::move(places), at_once);
    Mutex lock;
    Condition ended;
    std::vector<std::string> left;
    const auto work = [&] {
      const MutexLock held(lock);
      while (true) {
        std::optional<std::size_t> next;
        ended.wait(lock, [&] { return (next = turns.next()) || turns.all_begun(); });
        if (!next) return;
        bool stopped = false;
        {
          const MutexUnlock apart(lock);
          stopped = stop(domains[*next]);
        }
        if (!stopped) left.push_back(domains[*next].name);
        turns.ended(*next);
        ended.notify_all();
      }
    };
    std::vector<std::thread> threads;
    if (const std::string few = add_threads(threads, turns.most(), work); !few.empty())
      spdlog::warn("cloister: {}", few);
    for (std::thread& thread : threads) thread.join();
    return left;
  }

 private:
  /// False: it is left as it is.
  bool stop(const Stopping& domain) {
    if (domain.saves && save_and_wait(domain)) return true;
    if (!domain.at_once) press_and_wait(domain);
    const auto end = std::min(Clock::now() + longest_end, latest_);
    while (!patience_.given_up()) {
      const auto answer = asked([&] { return api_.remove(domain_path(domain.id)); });
      if (answer || answer.error().http_status == not_found) break;
      if (patience_.given_up()) break;
      if (Clock::now() >= end) {
        report(answer.error());
        return false;
      }
      std::this_thread::sleep_for(Patience::between_looks);
    }
    if (patience_.given_up()) return false;
    const std::size_t stopped = ++stopped_;
    spdlog::info("cloister: {} has ended, {} of {} stopped", domain.name, stopped, all_);
    return true;
  }

  /// True: it is saved, and has ended. What cannot be saved, or was not, goes the usual way.
  bool save_and_wait(const Stopping& domain) {
    auto begun = asked([&] { return api_.post(domain_path(domain.id, "/host-save")); });
    // Asked twice, where cloisterd has died in between, it is being saved already.
    constexpr std::string_view ours = "cloister: ";
    std::string why = begun ? "" : begun.error().message, last;
    bool again = !begun;
    if (why.starts_with(ours)) why.erase(0, ours.size());
    while (Clock::now() < guests_end_) {
      const auto present = asked([&] { return api_.get(domain_path(domain.id)); });
      if (!present && present.error().http_status != not_found) return false;
      if (!present && (begun || last == "saving" || last == "ending")) {
        // Its process may have died.
        const auto defined = asked([&] { return api_.get(domain_path(domain.name)); });
        if (defined && !defined->value("goes_on", false)) {
          spdlog::warn("cloister: {} is not saved, and has ended: {}, {} of {} stopped", domain.name,
                       printable(defined->value("ending", "")), ++stopped_, all_);
          return true;
        }
        spdlog::info("cloister: {} is saved, {} of {} stopped", domain.name, ++stopped_, all_);
        return true;
      }
      if (!present) return false;
      last = present->value("state", "");
      const Json save = present->value("save", Json::object());
      // One that is being created, as the host comes up, can be saved when it has been.
      if (last != "creating" && last != "saving" && last != "ending" && !save.value("going", false)) {
        if (begun) why = save.value("failed", "cloisterd was started anew meanwhile");
        // What it was being saved in was a snapshot, or could not be written.
        if (begun || !std::exchange(again, false)) break;
        begun = asked([&] { return api_.post(domain_path(domain.id, "/host-save")); });
        if (!begun) break;
      }
      ask_for_time(std::chrono::duration_cast<seconds>(longest_end));
      std::this_thread::sleep_for(Patience::between_looks);
    }
    spdlog::warn("cloister: {} is not saved, but shut down: {}", domain.name, printable(why));
    return false;
  }

  /// Until it has ended, or is to be ended. As SIGTERM to its process (vmm/termination.hpp): one that was paused goes
  /// on, unless its guest has never run, here or before it came here, and a guest that has shut down is not started
  /// again.
  void press_and_wait(const Stopping& domain) {
    const auto begun = Clock::now(), end = std::min(begun + domain.wait, guests_end_);
    if (begun >= end && domain.wait > seconds(0)) return spdlog::info("cloister: no time is left for {}", domain.name);
    const auto has = std::min(domain.wait, std::chrono::ceil<seconds>(guests_end_ - begun));
    std::optional<u64> restarts;  // when its button was pressed
    Clock::time_point next_press = Clock::time_point::max();
    bool saves = false;  // nothing can be asked of it, and to end it now would lose it
    do {
      const auto present = asked([&] { return api_.get(domain_path(domain.id)); });
      if (!present) return;
      const std::string state = present->value("state", "");
      const u64 now = present->value("restarts", u64{0});
      saves = state == "saving";
      if (state == "halted" || state == "crashed" || state == "restarting" || (restarts && now > *restarts)) return;
      const bool ran = present->value("instructions", u64{0}) != 0 || present->value("goes_on", false);
      if (state == "paused" && (!ran || !ask(domain, "/unpause"))) return;
      // One that was asleep hears the button only when it has its devices back.
      if (state == "suspended" && ask(domain, "/wake")) next_press = Clock::now() + between_presses;
      if (Clock::now() >= next_press && ask(domain, "/shutdown")) next_press = Clock::now() + between_presses;
      // It may be between two guests, or not answer at the moment.
      if (!restarts && state != "suspended" && !saves && ask(domain, "/shutdown")) {
        restarts = now;
        const std::string cut =
            has < domain.shutdown_timeout ? fmt::format(" of its {}", domain.shutdown_timeout.count()) : "";
        spdlog::info("cloister: {} was asked to shut down, and has {}{} s", domain.name, has.count(), cut);
      }
      std::this_thread::sleep_for(Patience::between_looks);
    } while (Clock::now() < (saves ? guests_end_ : end));
    spdlog::info("cloister: {} still runs after {} s, and is ended", domain.name, has.count());
  }

  bool ask(const Stopping& domain, const char* verb) {
    return asked([&] { return api_.post(domain_path(domain.id, verb)); }).has_value();
  }
  Answer<Json> asked(const std::function<Answer<Json>()>& ask) { return patience_.ask(latest_, ask); }

  const Api& api_;
  Patience& patience_;
  const Clock::time_point guests_end_, latest_;
  std::size_t all_ = 0;
  std::atomic<std::size_t> stopped_ = 0;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(text.empty() ? "" : ", ").append(printable(name));
  return text;
}

/// The names of those that there are when those have gone that are ending anyway.
Answer<std::vector<std::string>> those_left(const Api& api, Patience& patience, Clock::time_point latest) {
  while (true) {
    const auto domains = TRY(patience.ask(latest, [&] { return api.get("/v1/domains"); }));
    const auto ending = [](const Json& d) { return d.value("state", "") == "ending"; };
    if (!domains.empty() && std::ranges::all_of(domains, ending) && Clock::now() < latest) {
      std::this_thread::sleep_for(Patience::between_looks);
      continue;
    }
    std::vector<std::string> names;
    for (const Json& d : domains) names.push_back(d.value("name", std::to_string(d.value("id", u64{0}))));
    return names;
  }
}

}  // namespace

int host_down(const Common& common, const HostPatience& has) {
  Patience patience(has.in_all);
  const Api api(common.run_folder, has.an_answer);
  const auto begun = Clock::now(), guests_end = begun + for_guests, latest = begun + for_all + has.in_all;
  // More than once: one may have been created meanwhile.
  constexpr int rounds = 3;
  std::string not_noted;  // there may be room when domains have ended
  std::vector<std::string> still;
  for (int round = 0; round < rounds; ++round) {
    const auto answer = patience.ask(latest, [&] { return api.post("/v1/host/down"); });
    if (!answer) return report(answer.error());
    not_noted = printable(answer->value("not_noted", ""));
    std::vector<Stopping> all = stopping_of(*answer);
    const std::size_t at_once = std::clamp<u64>(answer->value("at_once", u64{1}), 1, 64);
    const auto left = std::chrono::ceil<seconds>(begun + for_all - Clock::now());
    const seconds longest = share_out(all, at_once, std::max(left, seconds(0))) + has.in_all;
    // The last request may be made at the last moment.
    const seconds held = longest + std::chrono::ceil<seconds>(has.an_answer);
    ask_for_time(held);
    if (!all.empty())
      spdlog::info("cloister: stops {} domain{}, {} of each user's at a time, in at most {} s", all.size(),
                   all.size() == 1 ? "" : "s", at_once, held.count());
    const auto end = std::min(latest, Clock::now() + longest);
    const std::vector<std::string> not_stopped = Stopper(api, patience, guests_end, end).stop(all, at_once);
    if (patience.given_up() && !not_stopped.empty())
      return report({"cloister: cloisterd does not answer, and these are not stopped: " + joined(not_stopped),
                     exit_status::failed});
    const auto found = those_left(api, patience, end);
    if (!found) return report(found.error());
    still = *found;
    if (still.empty() && not_noted.empty()) {
      spdlog::info("cloister: no domain runs");
      return 0;
    }
    if (still.empty() && round + 1 == rounds)
      return report({"cloister: no domain runs, but cloisterd cannot write down which ones ran: " + not_noted,
                     exit_status::failed});
  }
  return report({"cloister: there are still domains: " + joined(still), exit_status::failed});
}

int host_up(const Common& common, const HostPatience& has) {
  Patience patience(has.in_all);
  const Api api(common.run_folder, has.an_answer);
  const auto answer = patience.ask(Clock::time_point::max(), [&] { return api.post("/v1/host/up"); });
  if (!answer) return report(answer.error());
  spdlog::info("cloister: the host is up");
  int status = 0;
  for (const Json& uuid : answer->value("saved", Json::array())) {
    if (!uuid.is_string()) continue;
    // All that it has is read.
    const auto started = Api(common.run_folder, to_go_on).post(domain_path(uuid.get<std::string>(), "/start"));
    if (!started) status = report(started.error());
    if (started) spdlog::info("cloister: {} goes on as it was when the host went down", started->value("name", ""));
  }
  return status;
}

}  // namespace cloister::toolstack::client
