// `cloister host-down`, which ends all domains before the host ends them less kindly, and `cloister host-up`. What is
// said of each goes to the journal. cloisterd may end and start again meanwhile, and domains may end by themselves.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "client/stop_time.hpp"
#include "host/exit_status.hpp"
#include "host/threads.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr std::chrono::milliseconds between_looks{200};  ///< between two looks
constexpr seconds between_presses{5};
constexpr int not_found = 404, unavailable = 503;

struct Stopping {
  std::string name, id;
  u64 order;
  seconds shutdown_timeout;
  bool at_once;  ///< without its power button
};

std::vector<Stopping> stopping_of(const Json& answer) {
  std::vector<Stopping> all;
  for (const Json& d : answer.value("domains", Json::array()))
    all.push_back({.name = d.value("name", ""),
                   .id = std::to_string(d.value("id", u64{0})),
                   .order = d.value("order", u64{0}),
                   .shutdown_timeout = seconds(d.value("shutdown_timeout_seconds", u32{0})),
                   .at_once = d.value("on_host_shutdown", "") == "destroy"});
  return all;
}

/// What all can take if cloisterd answers, and as long as it may not.
seconds longest_of(const std::vector<Stopping>& all, std::size_t at_a_time, seconds patience) {
  constexpr seconds end{5};  // of a domain that is ended: its EPC is cleaned
  std::vector<StopTime> times;
  for (const Stopping& d : all)
    times.push_back({.order = d.order, .longest = (d.at_once ? seconds(0) : d.shutdown_timeout) + end});
  return longest_stop(times, at_a_time) + patience;
}

/// Asks until cloisterd answers, or has not answered for too long. 503: it is ending. Whoever looks on is told.
template <class Ask>
auto patiently(seconds patience, Ask ask) {
  const auto end = Clock::now() + patience;
  for (bool told = false;; told = true) {
    auto answer = ask();
    const bool away = !answer && (answer.error().http_status == 0 || answer.error().http_status == unavailable);
    if (!away || Clock::now() >= end) return answer;
    if (!told) spdlog::info("cloister: cloisterd does not answer, and is waited for, {} s at most", patience.count());
    std::this_thread::sleep_for(between_looks);
  }
}

/// The end of domains, on several threads.
class Stopper {
 public:
  Stopper(const Api& api, seconds patience, std::size_t domains) : api_(api), patience_(patience), all_(domains) {}

  /// Those that end before the next may begin, so many at a time.
  void stop(std::span<const Stopping> domains, std::size_t at_a_time) {
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      for (std::size_t i = 0; (i = next++) < domains.size();) stop(domains[i]);
    };
    std::vector<std::thread> threads;
    if (const std::string few = add_threads(threads, std::min(at_a_time, domains.size()), work); !few.empty())
      spdlog::warn("cloister: {}", few);
    for (std::thread& thread : threads) thread.join();
  }

 private:
  void stop(const Stopping& domain) {
    if (!domain.at_once) press_and_wait(domain);
    const auto end = Clock::now() + patience_;
    while (true) {
      const auto answer = patiently(patience_, [&] { return api_.remove(domain_path(domain.id)); });
      if (answer || answer.error().http_status == not_found) break;
      if (Clock::now() >= end) {
        report(answer.error());
        return;
      }
      std::this_thread::sleep_for(between_looks);
    }
    const std::size_t stopped = ++stopped_;
    spdlog::info("cloister: {} has ended, {} of {} stopped", domain.name, stopped, all_);
  }

  /// Until it has ended, or is to be ended. As SIGTERM to its process (vmm/termination.hpp): one that was paused goes
  /// on, unless its guest has never run, and a guest that has shut down is not started again.
  void press_and_wait(const Stopping& domain) {
    const auto end = Clock::now() + domain.shutdown_timeout;
    std::optional<u64> restarts;  // when its button was pressed
    Clock::time_point next_press = Clock::time_point::max();
    do {
      const auto present = patiently(patience_, [&] { return api_.get(domain_path(domain.id)); });
      if (!present) return;
      const std::string state = present->value("state", "");
      const u64 now = present->value("restarts", u64{0});
      if (state == "halted" || state == "crashed" || (restarts && now > *restarts)) return;
      if (state == "paused" && (present->value("instructions", u64{0}) == 0 || !ask(domain, "/unpause"))) return;
      // One that was asleep hears the button only when it has its devices back.
      if (state == "suspended" && ask(domain, "/wake")) next_press = Clock::now() + between_presses;
      if (Clock::now() >= next_press && ask(domain, "/shutdown")) next_press = Clock::now() + between_presses;
      // It may be between two guests, or not answer at the moment.
      if (!restarts && state != "suspended" && ask(domain, "/shutdown")) {
        restarts = now;
        spdlog::info("cloister: {} was asked to shut down, and has {} s", domain.name, domain.shutdown_timeout.count());
      }
      std::this_thread::sleep_for(between_looks);
    } while (Clock::now() < end);
    spdlog::info("cloister: {} still runs after {} s, and is ended", domain.name, domain.shutdown_timeout.count());
  }

  bool ask(const Stopping& domain, const char* verb) {
    return patiently(patience_, [&] { return api_.post(domain_path(domain.id, verb)); }).has_value();
  }

  const Api& api_;
  const seconds patience_;
  const std::size_t all_;
  std::atomic<std::size_t> stopped_ = 0;
};

/// How many there are when those have gone that are ending anyway.
Answer<std::size_t> those_left(const Api& api, seconds patience) {
  const auto end = Clock::now() + patience;
  while (true) {
    const auto domains = patiently(patience, [&] { return api.get("/v1/domains"); });
    if (!domains) return tl::unexpected(domains.error());
    const auto ending = [](const Json& d) { return d.value("state", "") == "ending"; };
    if (domains->empty() || !std::ranges::all_of(*domains, ending) || Clock::now() >= end) return domains->size();
    std::this_thread::sleep_for(between_looks);
  }
}

}  // namespace

int host_down(const Common& common, seconds patience) {
  const Api api(common.run_folder);
  // More than once: one may have been created meanwhile.
  constexpr int rounds = 3;
  std::string not_noted;  // there may be room when domains have ended
  for (int round = 0; round < rounds; ++round) {
    const auto answer = patiently(patience, [&] { return api.post("/v1/host/down"); });
    if (!answer) return report(answer.error());
    not_noted = printable(answer->value("not_noted", ""));
    const std::vector<Stopping> all = stopping_of(*answer);
    const std::size_t at_once = std::clamp<u64>(answer->value("at_once", u64{1}), 1, 64);
    const seconds longest = longest_of(all, at_once, patience);
    ask_for_time(longest);
    if (!all.empty())
      spdlog::info("cloister: stops {} domain{}, {} at a time, in at most {} s", all.size(), all.size() == 1 ? "" : "s",
                   at_once, longest.count());
    Stopper stopper(api, patience, all.size());
    for (auto first = all.begin(); first != all.end();) {
      const auto last = std::find_if(first, all.end(), [&](const Stopping& d) { return d.order != first->order; });
      stopper.stop({first, last}, at_once);
      first = last;
    }
    const auto left = those_left(api, patience);
    if (!left) return report(left.error());
    if (*left == 0 && not_noted.empty()) {
      spdlog::info("cloister: no domain runs");
      return 0;
    }
    if (*left == 0 && round + 1 == rounds)
      return report({"cloister: no domain runs, but cloisterd cannot write down which ones ran: " + not_noted,
                     exit_status::failed});
  }
  return report({"cloister: there are still domains", exit_status::failed});
}

int host_up(const Common& common, seconds patience) {
  const Api api(common.run_folder);
  const auto answer = patiently(patience, [&] { return api.post("/v1/host/up"); });
  if (!answer) return report(answer.error());
  spdlog::info("cloister: the host is up");
  return 0;
}

}  // namespace cloister::toolstack::client
