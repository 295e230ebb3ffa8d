// What the daemon's domains depend on and a test may stand in for: files, processes, secrets, and time.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "daemon/life.hpp"
#include "daemon/registry.hpp"
#include "daemon/secrets.hpp"
#include "daemon/vmm_processes.hpp"
#include "verbs/answer_times.hpp"

namespace cloister::toolstack {

/// How long others are waited for; of what a client waits for, answer_times.hpp has the relation.
struct Patience {
  using Time = std::chrono::milliseconds;
  Time launch = std::chrono::seconds(60);  ///< to lay out a domain on a machine that has much else to do
  Time verb = domain_reply;
  Time handover = std::chrono::seconds(2);  ///< of a VMM that is found: it delays the daemon's start
  Time backlog{100};                        ///< of such a VMM: who cannot be reached at once is looked for again
  Time exit = std::chrono::seconds(10);     ///< of a VMM that is killed at the daemon's start
  Time death = domain_death;                ///< of one that is killed later on
  Time retry = std::chrono::seconds(1);     ///< between two tries of what could not be done
  Time room = std::chrono::seconds(10);     ///< for EPC that was lent to come back
  Time share{250};                          ///< from one time that domains share EPC anew to the next
};

/// What the domains depend on and a test may stand in for.
struct Surroundings {
  std::unique_ptr<const Records> records;
  std::unique_ptr<const VmmProcesses> vmms;
  Secrets secrets{};
  std::string transfer{};  ///< the program cloister-transfer
  Patience patience{};
  LifeObserver observer{};  ///< with the domains' lock; none: nobody looks
};

}  // namespace cloister::toolstack
