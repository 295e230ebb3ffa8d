// The page's state changes with what is decided here, under the same lock.
#include "vmm/lifecycle.hpp"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "arch/sizes.hpp"

namespace cloister::toolstack {

namespace {
/// Of a disk's that a pause waits for, within what the daemon has for a verb.
constexpr std::chrono::milliseconds longest_request{3000};

tl::unexpected<std::string> refused(const char* why) { return tl::unexpected(std::string(why)); }
constexpr const char* not_running = "it does not run";
constexpr const char* starts_anew = "it is starting anew";
constexpr const char* asleep = "it is suspended: wake it first";
constexpr const char* still_at_it =
    "a disk is not done with what its guest has asked: try again, or find out what serves it";
constexpr const char* being_saved = "it is being saved";
constexpr const char* being_moved = "it is being moved";
constexpr const char* may_run_elsewhere = "it may run elsewhere by now: `cloister migrate --resolve` finds out";
bool stands_by(DomainState state) {
  return state == DomainState::saving || state == DomainState::moving || state == DomainState::in_doubt;
}
bool runs(DomainState state) { return state == DomainState::running || state == DomainState::shutting_down; }
}  // namespace

Lifecycle::Done Lifecycle::ask(GuestVerb verb, const nlohmann::json& arguments) {
  const DomainState state = page_.state();
  if (state == DomainState::saving) return refused(being_saved);
  if (state == DomainState::moving) return refused(being_moved);
  if (state == DomainState::in_doubt) return refused(may_run_elsewhere);
  switch (verb) {
    case GuestVerb::pause: return pause();
    case GuestVerb::unpause: return unpause();
    case GuestVerb::shutdown: return shutdown();
    case GuestVerb::reboot: return reboot();
    case GuestVerb::trigger: return trigger(arguments["vcpu"].get<u32>());
    case GuestVerb::wake: return wake();
    case GuestVerb::epc_target: return epc_target(arguments["mib"].get<u32>());
  }
  return refused("it does not know this verb");
}

Lifecycle::Done Lifecycle::run(bool paused, const std::optional<vmx::MoveToken>& token) {
  const MutexLock guard(lock_);
  if (launched_) return refused("it runs already");
  if (arriving_ == Arriving::by_token) {
    if (!token) return refused("enclaves have come with it: a token is wanted");
    if (auto committed = domain_->commit_enclaves(*token); !committed) return committed;
  }
  arriving_ = Arriving::no;
  launched_ = true;
  started_ = !paused;
  page_.set_state(paused ? DomainState::paused : DomainState::running);
  changed_.notify_all();
  return {};
}

Lifecycle::Done Lifecycle::unpause() {
  const MutexLock guard(lock_);
  if (page_.state() != DomainState::paused) return refused("it is not paused");
  started_ = true;
  if (domain_ != nullptr) domain_->unpause();
  page_.set_state(DomainState::running);
  changed_.notify_all();
  return {};
}

Lifecycle::Done Lifecycle::wake() {
  const MutexLock guard(lock_);
  if (page_.state() != DomainState::suspended || domain_ == nullptr) return refused("it is not suspended");
  page_.set_state(DomainState::running);  // before it may fall asleep again
  domain_->wake();
  return {};
}

void Lifecycle::fell_asleep() {
  if (!stands_by(page_.state())) page_.set_state(DomainState::suspended);
}

Lifecycle::Done Lifecycle::pause() {
  const MutexLock guard(lock_);
  const DomainState state = page_.state();
  if (state == DomainState::paused) return refused("it is paused already");
  if (state == DomainState::suspended) return refused(asleep);
  if (domain_ == nullptr || !runs(state)) return refused(not_running);
  if (!domain_->pause_within(longest_request)) return refused(still_at_it);
  if (domain_->asleep()) {  // it was faster
    domain_->unpause();
    return refused(asleep);
  }
  page_.set_state(DomainState::paused);
  return {};
}

Lifecycle::Done Lifecycle::shutdown() {
  const MutexLock guard(lock_);
  const DomainState state = page_.state();
  if (state == DomainState::paused) return refused("it is paused, and cannot see its power button");
  if (state == DomainState::suspended) return refused(asleep);
  if (domain_ == nullptr || !runs(state)) return refused(not_running);
  domain_->press_power_button();
  if (!domain_->asleep()) page_.set_state(DomainState::shutting_down);
  return {};
}

void Lifecycle::set_domain(hypervisor::Domain* domain) {
  const MutexLock guard(lock_);
  if (domain == nullptr && moves_) {
    move_is_off_ = true;
    changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return !moves_; });
  }
  domain_ = domain;
  between_guests_ = domain == nullptr;
}

Lifecycle::Done Lifecycle::reboot() {
  const MutexLock guard(lock_);
  const DomainState state = page_.state();
  if (state == DomainState::paused) return refused("it is paused: unpause it first");
  if (!started_ || state == DomainState::ended) return refused(not_running);
  if (terminating_) return refused("it is being ended");
  // Each reboot that is granted is one that happens: the domain's thread looks at it once, after it took the domain
  // away.
  if (reboot_ || between_guests_) return refused("it is starting anew already");
  reboot_ = true;
  stop_ = true;
  changed_.notify_all();
  return {};
}

Lifecycle::Done Lifecycle::trigger(u32 vcpu) {
  const MutexLock guard(lock_);
  const DomainState state = page_.state();
  if (domain_ == nullptr || (!runs(state) && state != DomainState::paused)) return refused(not_running);
  static_assert(std::size(triggers) == 1, "an NMI is what this sends");
  return domain_->send_nmi(vcpu);
}

Lifecycle::Done Lifecycle::epc_target(u32 mib) {
  const MutexLock guard(lock_);
  if (domain_ == nullptr) return refused(not_running);
  const u64 pages = mib * arch::pages_per_mib, sees = domain_->epc_pages();
  if (sees == 0) return refused("it has no EPC");
  if (pages > sees)
    return tl::unexpected(
        fmt::format("found {} MiB, expected at most the {} MiB that it sees", mib, sees / arch::pages_per_mib));
  domain_->set_epc_target(pages);
  return {};
}

void Lifecycle::terminate() {
  const MutexLock guard(lock_);
  // Of one that is saved at the second time without its enclaves, if they have left.
  if (stands_by(page_.state()) && !(waits_for_token_ && save_is_off_)) {
    save_is_off_ = true;
    move_is_off_ = true;
    return;
  }
  end();
}

void Lifecycle::end() {
  const DomainState state = page_.state();
  const bool ran = started_ || goes_on_;
  const bool listens = ran && (runs(state) || state == DomainState::paused || state == DomainState::suspended);
  if (!std::exchange(terminating_, true) && listens) {
    started_ = true;
    // The button wakes it, if it sleeps, and is pressed again until it has heard (VcpuLoop::follow_shutdown).
    shutdown_ = true;
    if (domain_ != nullptr) domain_->unpause();
    page_.set_state(DomainState::shutting_down);
  } else {
    started_ = true;
    stop_ = true;
  }
  changed_.notify_all();
}

bool Lifecycle::terminating() const {
  const MutexLock guard(lock_);
  return terminating_ || saved_;
}

bool Lifecycle::saved() const {
  const MutexLock guard(lock_);
  return saved_;
}

std::optional<std::string> Lifecycle::not_to_be_written() const {
  const DomainState state = page_.state();
  const bool stands = state == DomainState::paused || state == DomainState::suspended;
  if (state == DomainState::saving || saved_) return being_saved;
  if (moves_) return being_moved;
  if (terminating_) return "it is being ended";
  if (domain_ == nullptr || !(runs(state) || stands)) return not_running;
  if (!started_ && !goes_on_) return "it has not run yet: nothing is lost if it is destroyed";
  if (reboot_) return starts_anew;
  return std::nullopt;
}

void Lifecycle::stand(DomainState as) {
  const DomainState state = page_.state();
  domain_->pause();
  // One that has not run here is paused, and its processors wait as soon as they are there.
  if (!std::exchange(started_, true)) changed_.notify_all();
  before_save_ = domain_->asleep() && runs(state) ? DomainState::suspended : state;
  save_is_off_ = false;
  page_.set_state(as);
}

void Lifecycle::go_on() {
  if (domain_->asleep()) before_save_ = DomainState::suspended;
  page_.set_state(before_save_);
  if (before_save_ != DomainState::paused) domain_->unpause();
  if (save_is_off_) end();
}

tl::expected<hypervisor::Domain*, std::string> Lifecycle::begin_save() {
  const MutexLock guard(lock_);
  if (const auto why = not_to_be_written()) return tl::unexpected(*why);
  stand(DomainState::saving);
  return domain_;
}

void Lifecycle::end_save(const Done& saved, AfterSave then, bool left) {
  const MutexLock guard(lock_);
  if (saved && then == AfterSave::goes_on) return go_on();
  if (saved) {
    saved_ = true;
    stop_ = true;
    changed_.notify_all();
    return;
  }
  page_.fail_save(saved.error());
  if (left) {
    waits_for_token_ = true;
    page_.set_save_waits(true);
    return;
  }
  go_on();
}

Lifecycle::Done Lifecycle::take_back(const vmx::MoveToken& token) {
  const MutexLock guard(lock_);
  if (!waits_for_token_ || domain_ == nullptr) return refused("its enclaves have not left");
  if (auto back = domain_->take_enclaves_back(token); !back) return back;
  waits_for_token_ = false;
  page_.set_save_waits(false);
  go_on();
  return {};
}

tl::expected<hypervisor::Domain*, std::string> Lifecycle::begin_move() {
  const MutexLock guard(lock_);
  if (const auto why = not_to_be_written()) return tl::unexpected(*why);
  moves_ = true;
  stands_ = false;
  move_is_off_ = false;
  return domain_;
}

Lifecycle::Done Lifecycle::stand_still() {
  const MutexLock guard(lock_);
  const DomainState state = page_.state();
  if (move_is_off_ || terminating_ || reboot_) return refused("it was to go on, or to end");
  if (!(runs(state) || state == DomainState::paused || state == DomainState::suspended)) return refused(not_running);
  stand(DomainState::moving);
  stands_ = true;
  return {};
}

bool Lifecycle::was_paused() const {
  const MutexLock guard(lock_);
  return stands_ && before_save_ == DomainState::paused;
}

void Lifecycle::let_move_run() {
  const MutexLock guard(lock_);
  if (std::exchange(stands_, false)) go_on();
}

void Lifecycle::end_move() {
  const MutexLock guard(lock_);
  moves_ = false;
  if (std::exchange(stands_, false)) go_on();
  changed_.notify_all();
}

void Lifecycle::preserve(DomainState state) {
  const MutexLock guard(lock_);
  page_.set_state(state);
  between_guests_ = false;
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return reboot_ || terminating_; });
  between_guests_ = true;
}

bool Lifecycle::wait_before_restart(std::chrono::seconds wait) {
  const MutexLock guard(lock_);
  page_.set_state(DomainState::restarting);
  between_guests_ = false;
  changed_.wait_for(lock_, wait, [this]() CLOISTER_REQUIRES(lock_) { return reboot_ || terminating_; });
  between_guests_ = true;
  reboot_ = false;  // this is the one
  if (!terminating_) stop_ = false;
  return !terminating_;
}

void Lifecycle::look_at_epc() {
  const MutexLock guard(lock_);
  if (domain_ != nullptr) domain_->look_at_epc();
}

Lifecycle::Done Lifecycle::lend_epc(const EpcFrames& frames, std::size_t section) {
  const MutexLock guard(lock_);
  if (epc_ == nullptr) return refused(starts_anew);
  epc_->lend_epc(frames, section);
  changed_.notify_all();
  return {};
}

void Lifecycle::wait_for_epc(std::chrono::milliseconds limit) {
  const MutexLock guard(lock_);
  changed_.wait_for(lock_, limit,
                    [this]() CLOISTER_REQUIRES(lock_) { return terminating_ || epc_->epc_missing() == 0; });
}

tl::expected<EpcFrames, std::string> Lifecycle::give_epc_back(u64 most, const EpcFrames& of) {
  const MutexLock guard(lock_);
  if (epc_ == nullptr) return refused(starts_anew);
  return epc_->give_epc_back(most, of);
}

tl::expected<EpcFrames, std::string> Lifecycle::epc_frames() {
  const MutexLock guard(lock_);
  if (epc_ == nullptr) return refused(starts_anew);
  return epc_->epc_frames();
}

void Lifecycle::set_epc(hypervisor::Domain* domain) {
  const MutexLock guard(lock_);
  epc_ = domain;
}

void Lifecycle::rename(std::string name) {
  const MutexLock guard(name_lock_);
  name_ = std::move(name);
}

void Lifecycle::set_arriving(Arriving how) {
  const MutexLock guard(lock_);
  arriving_ = how;
}

bool Lifecycle::arriving() const {
  const MutexLock guard(lock_);
  return arriving_ != Arriving::no;
}

bool Lifecycle::launched() const {
  const MutexLock guard(lock_);
  return launched_;
}

void Lifecycle::set_goes_on() {
  const MutexLock guard(lock_);
  goes_on_ = true;
  page_.set_goes_on();
}

void Lifecycle::wait_for_start() {
  const MutexLock guard(lock_);
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return started_; });
}

bool Lifecycle::take_reboot() {
  const MutexLock guard(lock_);
  stop_ = false;
  return std::exchange(reboot_, false);
}

std::string Lifecycle::name() const {
  const MutexLock guard(name_lock_);
  return name_;
}

}  // namespace cloister::toolstack
