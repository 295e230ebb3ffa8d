// What is asked of a domain from outside, between the thread that hears it (the service) and the one that runs the
// guest.
//
// While a guest runs, its Domain is known here: what the hypervisor can do to it from any thread is done at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <tl/expected.hpp>

#include "hypervisor/domain.hpp"
#include "toolstack/vmm/domain_page.hpp"

namespace cloister::toolstack {

class Lifecycle {
 public:
  using Done = tl::expected<void, std::string>;

  /// The page must outlive this.
  explicit Lifecycle(DomainPage& page, std::string name) : page_(page), name_(std::move(name)) {}

  // ---- the service's thread; errors say why it cannot be done now
  Done run(bool paused);
  Done pause();
  Done unpause();
  /// Presses the power button; the guest may listen.
  Done shutdown();
  /// Ends the guest and starts it anew.
  Done reboot();
  void rename(std::string name);
  bool launched() const;

  // ---- the domain's thread
  /// Until run() or unpause() start it.
  void wait_for_start();
  /// `domain` runs from now on; null: none does.
  void set_running(hypervisor::Domain* domain);
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
  hypervisor::Domain* domain_ = nullptr;
  bool launched_ = false, started_ = false, reboot_ = false;
  std::atomic<bool> stop_{false};
};

}  // namespace cloister::toolstack
