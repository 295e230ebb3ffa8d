// A domain's parts: what its processors share, the processors, and the way of interrupt messages between them.
//
// `lock` guards everything here and in the processors. A processor's thread holds it always, but while the guest runs
// and while it waits; exit handlers need not think of it. So what only they and the loops use says nothing of it; what
// others use does.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/console.hpp"
#include "hypervisor/devices/guest_ram.hpp"
#include "hypervisor/epc/fixed_epc.hpp"
#include "hypervisor/epc/moving/fixed_mover.hpp"
#include "hypervisor/epc/pager/pager.hpp"
#include "hypervisor/outcome.hpp"
#include "hypervisor/processor.hpp"
#include "hypervisor/specification.hpp"
#include "hypervisor/trace.hpp"
#include "platform/platform.hpp"

namespace cloister::hypervisor {

/// The end of a domain, and why.
struct Stop {
  Ending ending = Ending::crashed;
  std::string reason;  ///< crashed or halted: one sentence; a crash's register dump is added to it
};

class Machine {
 public:
  Machine(vmx::Package& owner, DomainSpec domain);

  vmx::Package& package;
  DomainSpec spec;
  const EpcPages epc_pages;  ///< that the guest sees
  /// The machine frames of the domain when it was laid out. Without a pager those of spec.map.epc, in order.
  std::vector<vmx::EpcSection> epc;
  /// Those that it has.
  std::vector<vmx::EpcSection> frames() const;
  /// The leaves of ENCLS and ENCLV that the hypervisor runs on these frames itself.
  RootLeaves root_leaves;
  unsigned physical_bits;
  const u64 hidden_leaves;  ///< of ENCLS, those that the domain's CPUID does not list (epc/exiting_leaves.hpp)
  const std::unique_ptr<vmx::GuestMemory> own_memory;
  vmx::GuestMemory& memory;
  std::unique_ptr<Pager> pager;             ///< null: every page of the map's EPC has its frame
  std::unique_ptr<FixedEpc> fixed_epc;      ///< null: there is a pager, or no EPC
  std::unique_ptr<FixedMover> fixed_mover;  ///< its; null likewise
  /// All of it, when the domain's enclaves are to go elsewhere; null: there is none.
  MovableEpc* movable_epc() { return pager != nullptr ? static_cast<MovableEpc*>(pager.get()) : fixed_mover.get(); }
  /// Leaves of the guest's meet the hypervisor's (epc/exiting_leaves.hpp), and may meanwhile (epc/moving/); each
  /// processor takes it over before it enters the guest.
  bool epc_virtualization = false;
  /// What a processor waits before a page that is out comes, so that a guest that uses all of them all the time has few
  /// when it is to stand still (saving/live.hpp), in microseconds.
  std::atomic<u32> epc_wait_us{0};
  void meet_root_leaves(bool meet) CLOISTER_EXCLUDES(lock);
  /// How many pages of its EPC the guest is asked to have, as many as it sees at first, and how many it has given.
  BalloonCounts own_balloon;
  BalloonCounts& balloon;
  vmx::Time time;
  platform::IoApic ioapic;
  Console console;
  platform::Uart16550 uart;
  platform::PowerControl power;
  platform::Rtc rtc;
  GuestRam ram;                                    ///< for devices that reach it
  std::unique_ptr<platform::pci::HostBridge> pci;  ///< null: there is no bus
  std::vector<std::unique_ptr<platform::virtio::Block>> disks;
  std::vector<std::unique_ptr<platform::virtio::Net>> interfaces;
  std::unique_ptr<platform::virtio::Console> virtio_console;  ///< null: the serial port is all there is
  std::unique_ptr<platform::virtio::Rng> rng;                 ///< null: there is none, as of
  std::unique_ptr<platform::virtio::Vsock> vsock;
  bool crash_kernel_runs = false;  ///< the guest said so, by pvpanic
  Trace trace;
  std::function<void(std::string_view)> note;  ///< RunOptions::note; empty: nobody listens
  std::function<void()> fell_asleep;           ///< RunOptions::fell_asleep
  u32 exception_bitmap = 0;  ///< a debugger's; each processor takes it over before it enters the guest
  std::vector<std::unique_ptr<Processor>> processors;

  Mutex lock;
  /// How the domain ended, once it has, and the processor that ended it.
  std::optional<Stop> stop CLOISTER_GUARDED_BY(lock);
  u32 stopped_by CLOISTER_GUARDED_BY(lock) = 0;
  /// Ends the domain, unless it has ended already, and tells every processor.
  void end(Stop how, const Processor& by) CLOISTER_REQUIRES(lock);

  /// While set no processor enters the guest. pause() returns when none is in it.
  bool paused CLOISTER_GUARDED_BY(lock) = false;
  /// Devices have then done what they had begun, and begin nothing.
  void pause() CLOISTER_EXCLUDES(lock);
  bool pause_within(std::chrono::milliseconds most) CLOISTER_EXCLUDES(lock);
  void unpause() CLOISTER_EXCLUDES(lock);
  /// It is what another domain was, which is nowhere any more; until go_on() it stands still, as one that is paused.
  void came() CLOISTER_REQUIRES(lock);
  /// Processors may enter the guest from now on. If it has stood for longer than the specification says that its time
  /// stamp counter may show, that stood, too; the clock chip did not.
  void go_on() CLOISTER_REQUIRES(lock);
  /// Its networks are told that it is here.
  void announce() CLOISTER_REQUIRES(lock);
  /// Waits until no processor's thread is in the middle of an exit, or the domain has ended: once it is paused, or
  /// where processors take turns.
  void wait_until_all_wait() CLOISTER_REQUIRES(lock);

  /// S3 (sleep.cpp): the guest has asked for it; it falls asleep; it sleeps until it is woken.
  enum class Sleep : u8 { awake, falling_asleep, asleep };
  bool sleep_asked = false;
  Sleep sleep CLOISTER_GUARDED_BY(lock) = Sleep::awake;
  /// Takes the processors' state and the EPC away, once no processor is in the guest. A Stop if it cannot.
  std::optional<Stop> fall_asleep() CLOISTER_REQUIRES(lock);
  /// False: it does not sleep.
  bool wake() CLOISTER_REQUIRES(lock);

  /// No processor may enter the guest.
  bool held() const CLOISTER_REQUIRES(lock) { return paused || sleep != Sleep::awake || gate_.closed; }

  void press_power_button() CLOISTER_REQUIRES(lock);
  /// False: the processor waits for its start-up message, and takes none (SDM vol. 3A, 9.4).
  bool send_nmi(Processor& to) CLOISTER_REQUIRES(lock);

  /// Under the deterministic clock: devices do some of what is left of what they were asked for.
  void serve_devices();
  /// There is such.
  bool devices_wait() const;
  /// Bytes for whichever console the guest uses; and how many that one has to give still.
  void typed(std::span<const u8> bytes) CLOISTER_REQUIRES(lock);
  std::size_t typed_backlog() const CLOISTER_REQUIRES(lock);
  /// Under the host's clock: does what this disk, or the source of random bytes, is asked for until the domain has
  /// ended. A thread of its own, so that no processor waits for the host.
  void serve(platform::virtio::Device& device) CLOISTER_REQUIRES(lock);
  /// Likewise what an interface's driver and the network ask of it.
  void serve(platform::virtio::Net& interface) CLOISTER_REQUIRES(lock);
  /// Likewise of its sockets.
  void serve(platform::virtio::Vsock& sockets) CLOISTER_REQUIRES(lock);

  bool deterministic() const { return spec.clock == vmx::ClockMode::deterministic; }
  Processor& bootstrap() { return *processors.front(); }
  u64 now() { return bootstrap().now(); }
  /// It is a page of the guest's EPC.
  bool is_epc(arch::Gpa page) const { return epc_pages.page_at(page).has_value(); }
  /// The handler of an exit needs a page of EPC, which is there when this returns, and stays while it handles this
  /// exit, unless the guest gives it back: only with a pager that takes more than a look.
  Pager::Need bring(arch::Gpa page, const Processor& processor);
  /// Its machine frame then; nullopt: it is no page of EPC, or can have none any more.
  std::optional<arch::Mfn> frame_of(arch::Gpa page, const Processor& processor);

  /// For the handler of an exit that does the guest's work on its EPC: does it with the lock released, as if the
  /// processor were in the guest. So no gate closes, and no pause() returns, before it is done. False: the guest is
  /// held, and nothing was done.
  bool as_guest(Processor& processor, const std::function<void()>& work);

  /// The guest gives pages of its EPC back, or takes them again (epc/balloon.hpp). Nullopt: it has no EPC, or the
  /// package cannot map single pages.
  std::optional<Ballooned> give_epc(std::span<const arch::Gpa> pages);
  std::optional<Ballooned> take_epc(std::span<const arch::Gpa> pages);
  /// The guest is asked to have so many pages.
  void set_epc_target(u64 pages);
  bool has_balloon() const { return !spec.map.epc.empty() && package.capabilities().epc_paging; }

  /// The pager's.
  Gate& gate() { return gate_; }

  /// An interrupt message from the I/O APIC, or from the ICR of `sender`.
  void deliver(const platform::InterruptMessage& message, const Processor* sender);
  /// How many messages went from one processor to another: a turn under the deterministic clock ends with one.
  u64 messages = 0;

 private:
  struct OwnGate final : Gate {
    explicit OwnGate(Machine& domain) : machine(domain) {}
    void close() override CLOISTER_EXCLUDES(machine.lock);
    void open() override CLOISTER_EXCLUDES(machine.lock);
    Machine& machine;
    bool closed = false;  ///< the machine's lock guards it
  };
  void add_devices();
  platform::virtio::Device::Surroundings surroundings_of(std::string name, std::function<void()> later);
  std::size_t number_of(const platform::virtio::Net& interface) const;
  void device_apart(const std::function<void()>& what);
  void wait_for_epc() CLOISTER_EXCLUDES(lock);
  /// Whatever may have changed, processors and devices look at it.
  void tell_all() CLOISTER_REQUIRES(lock);
  void accept(Processor& processor, const platform::InterruptMessage& message);
  /// most: or for ever. False: it is not paused.
  bool stand_still(std::optional<std::chrono::milliseconds> most) CLOISTER_EXCLUDES(lock);
  bool nobody_runs() const CLOISTER_REQUIRES(lock);
  bool nothing_moves() const CLOISTER_REQUIRES(lock) { return nobody_runs() && devices_at_work_ == 0; }
  /// The handlers of exits are called with the lock, which their declarations do not say.
  void handler_has_lock() const CLOISTER_ASSERT_CAPABILITY(lock) {}
  friend class VcpuLoop;
  std::optional<u64> stands_since_ CLOISTER_GUARDED_BY(lock);  ///< TSC
  bool date_is_off_ CLOISTER_GUARDED_BY(lock) = false;         ///< and the guest has not been told
  bool is_new_here_ CLOISTER_GUARDED_BY(lock) = false;         ///< and its networks have not been told
  OwnGate gate_{*this};
  Condition left_guest_;  ///< a processor left the guest while held(), or a device came to rest, or the gate has opened
  Condition devices_wanted_;                                ///< a device has something to do, or the domain has ended
  unsigned devices_at_work_ CLOISTER_GUARDED_BY(lock) = 0;  ///< requests that are being done without the lock
};

}  // namespace cloister::hypervisor
