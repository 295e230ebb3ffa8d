// The page's state changes with what is decided here, under the same lock.
#include "toolstack/vmm/lifecycle.hpp"

namespace cloister::toolstack {

namespace {
tl::unexpected<std::string> refused(const char* why) { return tl::unexpected(std::string(why)); }
}  // namespace

Lifecycle::Done Lifecycle::run(bool paused) {
  const std::scoped_lock guard(lock_);
  if (launched_) return refused("it runs already");
  launched_ = true;
  started_ = !paused;
  page_.set_state(paused ? DomainState::paused : DomainState::running);
  changed_.notify_all();
  return {};
}

Lifecycle::Done Lifecycle::pause() {
  const std::scoped_lock guard(lock_);
  if (page_.state() == DomainState::paused) return refused("it is paused already");
  if (domain_ == nullptr) return refused("it does not run");
  domain_->pause();
  page_.set_state(DomainState::paused);
  return {};
}

Lifecycle::Done Lifecycle::unpause() {
  const std::scoped_lock guard(lock_);
  if (page_.state() != DomainState::paused) return refused("it is not paused");
  started_ = true;
  if (domain_ != nullptr) domain_->unpause();
  page_.set_state(DomainState::running);
  changed_.notify_all();
  return {};
}

Lifecycle::Done Lifecycle::shutdown() {
  const std::scoped_lock guard(lock_);
  if (page_.state() == DomainState::paused) return refused("it is paused");
  if (domain_ == nullptr) return refused("it does not run");
  domain_->press_power_button();
  page_.set_state(DomainState::shutting_down);
  return {};
}

Lifecycle::Done Lifecycle::reboot() {
  const std::scoped_lock guard(lock_);
  if (!started_ || page_.state() == DomainState::ended) return refused("it does not run");
  reboot_ = true;
  stop_ = true;
  return {};
}

void Lifecycle::rename(std::string name) {
  const std::scoped_lock guard(lock_);
  name_ = std::move(name);
}

bool Lifecycle::launched() const {
  const std::scoped_lock guard(lock_);
  return launched_;
}

void Lifecycle::wait_for_start() {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [this] { return started_; });
}

void Lifecycle::set_running(hypervisor::Domain* domain) {
  const std::scoped_lock guard(lock_);
  domain_ = domain;
}

bool Lifecycle::take_reboot() {
  const std::scoped_lock guard(lock_);
  stop_ = false;
  return std::exchange(reboot_, false);
}

std::string Lifecycle::name() const {
  const std::scoped_lock guard(lock_);
  return name_;
}

}  // namespace cloister::toolstack
