// What is asked of a domain from outside, between the thread that hears it (the service) and the one that runs the
// guest.
//
// What the hypervisor must do to a guest that runs belongs here too: the service calls a function of Lifecycle, and the
// domain's thread finds it at its next look.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <tl/expected.hpp>

#include "toolstack/vmm/domain_page.hpp"

namespace cloister::toolstack {

class Lifecycle {
 public:
  using Done = tl::expected<void, std::string>;

  /// The page must outlive this.
  explicit Lifecycle(DomainPage& page, std::string name) : page_(page), name_(std::move(name)) {}

  // ---- the service's thread; errors say why it cannot be done now
  Done run(bool paused);
  Done unpause();
  /// Ends the guest and starts it anew.
  Done reboot();
  void rename(std::string name);
  bool launched() const;

  // ---- the domain's thread
  /// Until run() or unpause() start it.
  void wait_for_start();
  /// RunOptions::stop.
  const std::atomic<bool>& stop_flag() const { return stop_; }
  /// Whether a reboot was asked for; clears the stop flag.
  bool take_reboot();
  std::string name() const;

 private:
  DomainPage& page_;
  mutable std::mutex lock_;
  std::condition_variable changed_;
  std::string name_;
  bool launched_ = false, started_ = false, reboot_ = false;
  std::atomic<bool> stop_{false};
};

}  // namespace cloister::toolstack
