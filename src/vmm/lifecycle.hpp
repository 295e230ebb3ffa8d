// What is asked of a domain from outside, between the thread that hears it (the service) and the one that runs the
// guest.
//
// What the hypervisor must do to a guest that runs is done on the service's thread: a Domain's pause() and others may
// be called from any.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "host/mutex.hpp"
#include "hypervisor/domain.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/epc_frames.hpp"
#include "protocol/saving.hpp"
#include "verbs/guest_verbs.hpp"

namespace cloister::toolstack {

class Lifecycle {
 public:
  using Done = tl::expected<void, std::string>;

  /// The page must outlive this.
  explicit Lifecycle(DomainPage& page, std::string name) : page_(page), name_(std::move(name)) {}

  // ---- the service's thread; errors say why it cannot be done now
  /// A verb of the table, with its arguments as read_arguments() has them.
  Done ask(GuestVerb verb, const nlohmann::json& arguments);
  /// token: lets the enclaves run that have come with the guest (set_arriving()); none: none have.
  Done run(bool paused, const std::optional<vmx::MoveToken>& token = {});
  /// No processor is in the guest when it returns.
  Done pause();
  Done unpause();
  /// Presses the guest's power button.
  Done shutdown();
  /// Ends the guest and starts it anew. Refused while it is paused, or about to start anew.
  Done reboot();
  /// An NMI, which a paused guest finds when it goes on. Refused while there is no guest.
  Done trigger(u32 vcpu);
  /// Lets a guest that has suspended itself to RAM go on.
  Done wake();
  /// Asks the guest to have so many MiB of its EPC, until it starts anew. Refused if it sees less.
  Done epc_target(u32 mib);
  /// SIGTERM: presses the power button of a guest that runs; ends any other, and any at the second time.
  void terminate();
  /// More frames for a section of its EPC, back from it, and all that it has (hypervisor::Domain); also of a guest that
  /// has ended. Refused while it starts anew.
  Done lend_epc(const EpcFrames& frames, std::size_t section);
  tl::expected<EpcFrames, std::string> give_epc_back(u64 most, const EpcFrames& of);
  tl::expected<EpcFrames, std::string> epc_frames();
  /// Has the hypervisor see which pages of EPC are used.
  void look_at_epc();
  void rename(std::string name);
  bool launched() const;
  /// The guest goes on, or comes: all that it was is there before it runs.
  void set_goes_on();
  /// Whoever starts the guest is waited for, whoever dies. Enclaves have come with it: there is a token.
  enum class Arriving : u8 { no, by_word, by_token };
  void set_arriving(Arriving how);
  bool arriving() const;
  /// The guest stands still, and nothing else is done to it until end_save(), from any thread: then the domain ends if
  /// it is saved for that, and else goes on as it was. It is there until then.
  tl::expected<hypervisor::Domain*, std::string> begin_save();
  /// left: its enclaves have. Then, if it is not saved, it stands still until take_back().
  void end_save(const Done& saved, AfterSave then, bool left);
  Done take_back(const vmx::MoveToken& token);
  /// Becomes true if it is to be ended instead.
  const std::atomic<bool>& save_is_off() const { return save_is_off_; }

  /// The domain, which stays as long as it moves, and whose guest runs on.
  tl::expected<hypervisor::Domain*, std::string> begin_move();
  /// The guest stands still from now on, as when it is saved.
  Done stand_still();
  bool was_paused() const;
  /// It may run elsewhere.
  void in_doubt() { page_.set_state(DomainState::in_doubt); }
  /// It may not, and is to go on as soon as it has its disks again.
  void waits_for_disks() { page_.set_state(DomainState::moving); }
  /// The guest goes on as it was.
  /// What stands still for it goes on, if it does, before the move is over.
  void let_move_run();
  void end_move();
  void cancel_move() { move_is_off_ = true; }
  /// It is to go on, or has ended, or is to end.
  bool move_is_off() const { return move_is_off_; }

  // ---- the domain's thread
  /// What pause() and others act on, until it is replaced or taken away (null), which waits until it does not move.
  void set_domain(hypervisor::Domain* domain);
  /// Whose EPC is lent and given back, while it is there; null: none.
  void set_epc(hypervisor::Domain* domain);
  /// Until pages of that EPC are not missing any more, or the time is over.
  void wait_for_epc(std::chrono::milliseconds limit);
  /// Until run() or unpause() start it, or its processors are to stand still.
  void wait_for_start();
  /// RunOptions::fell_asleep: shows it.
  void fell_asleep();
  /// RunOptions::stop.
  const std::atomic<bool>& stop_flag() const { return stop_; }
  /// RunOptions::shutdown.
  const std::atomic<bool>& shutdown_flag() const { return shutdown_; }
  /// terminate() was called, or it is saved: what ends now ends for good.
  bool terminating() const;
  bool saved() const;
  /// The guest has ended, and the domain stays, in this state; returns once it is to be rebooted or ended.
  void preserve(DomainState state);
  /// The guest has ended, and is to start anew after so long; at once if a reboot is asked for. False: the domain ends.
  bool wait_before_restart(std::chrono::seconds wait);
  /// Whether a reboot was asked for; clears the stop flag.
  bool take_reboot();
  std::string name() const;

 private:
  void end() CLOISTER_REQUIRES(lock_);
  std::optional<std::string> not_to_be_written() const CLOISTER_REQUIRES(lock_);
  void stand(DomainState as) CLOISTER_REQUIRES(lock_);
  void go_on() CLOISTER_REQUIRES(lock_);

  DomainPage& page_;
  mutable Mutex lock_;
  Condition changed_;
  /// A lock of its own: a processor's thread asks for the name while it holds what pause() waits for with `lock_`.
  mutable Mutex name_lock_;
  std::string name_ CLOISTER_GUARDED_BY(name_lock_);
  hypervisor::Domain* domain_ CLOISTER_GUARDED_BY(lock_) = nullptr;
  hypervisor::Domain* epc_ CLOISTER_GUARDED_BY(lock_) = nullptr;
  bool launched_ CLOISTER_GUARDED_BY(lock_) = false;
  bool started_ CLOISTER_GUARDED_BY(lock_) = false;
  bool goes_on_ CLOISTER_GUARDED_BY(lock_) = false;
  bool reboot_ CLOISTER_GUARDED_BY(lock_) = false;
  bool between_guests_ CLOISTER_GUARDED_BY(lock_) = false;
  bool terminating_ CLOISTER_GUARDED_BY(lock_) = false;
  DomainState before_save_ CLOISTER_GUARDED_BY(lock_) = DomainState::running;
  bool saved_ CLOISTER_GUARDED_BY(lock_) = false;
  bool waits_for_token_ CLOISTER_GUARDED_BY(lock_) = false;
  Arriving arriving_ CLOISTER_GUARDED_BY(lock_) = Arriving::no;
  bool moves_ CLOISTER_GUARDED_BY(lock_) = false, stands_ CLOISTER_GUARDED_BY(lock_) = false;
  std::atomic<bool> stop_{false}, shutdown_{false}, save_is_off_{false}, move_is_off_{false};
};

}  // namespace cloister::toolstack
