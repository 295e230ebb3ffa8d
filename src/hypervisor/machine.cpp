// Interrupt messages go to every local APIC that they address (SDM vol. 3A, 11.6.2); of those that a lowest-priority
// message addresses, the first takes it.
#include "hypervisor/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <thread>
#include <utility>

#include "hypervisor/devices/host_random.hpp"
#include "hypervisor/epc/exiting_leaves.hpp"

namespace cloister::hypervisor {
namespace {

using platform::InterruptMessage;

enum Delivery : u8 { fixed = 0, lowest_priority = 1, nmi = 4, init = 5, startup = 6 };
enum Shorthand : u8 { none = 0, self = 1, all_but_self = 3 };

unsigned physical_bits_of(const policy::CpuidTable& cpuid) {
  const unsigned bits = cpuid.get(arch::leaf::address_sizes, 0).eax & 0xff;
  return bits == 0 ? 36 : bits;  // SDM vol. 3A, 4.1.4: 36 where the leaf is missing
}

}  // namespace

Machine::Machine(vmx::Package& owner, DomainSpec domain)
    : package(owner),
      spec(std::move(domain)),
      epc_pages(spec.map.epc),
      physical_bits(physical_bits_of(spec.cpuid)),
      hidden_leaves(hidden_leaves_of(spec)),
      own_memory(package.make_memory()),
      memory(*own_memory),
      balloon(spec.balloon_counts == nullptr ? own_balloon : *spec.balloon_counts),
      ioapic([this](const InterruptMessage& message) { deliver(message, nullptr); }),
      uart([this](u8 byte) { console.transmit(byte); },
           [this](bool level) { ioapic.set_pin(platform::com1_irq, level); }),
      power([this](bool level) { ioapic.set_pin(platform::sci_gsi, level); }),
      rtc(vmx::tsc_hz, spec.date, spec.battery, [this](bool level) { ioapic.set_pin(platform::rtc_irq, level); }),
      ram(memory) {
  add_devices();
  for (u32 id = 0; id < spec.vcpus; ++id) processors.push_back(std::make_unique<Processor>(*this, package, id));
}

void Machine::add_devices() {
  if (!spec.map.pci) return;
  // _PRT's interrupts are active low (PCI Local Bus 3.0, 2.2.6).
  pci = std::make_unique<platform::pci::HostBridge>(*spec.map.pci,
                                                    [this](u32 gsi, bool asserted) { ioapic.set_pin(gsi, !asserted); });
  const auto add = [this](platform::virtio::Device& device) {
    [[maybe_unused]] const bool has_place = pci->add(device);
    assert(has_place);  // Domain::create() refuses more than a bus has
  };
  const auto wanted = [this] { devices_wanted_.notify_all(); };
  DeviceCounts* const counts = spec.device_counts;
  for (std::size_t i = 0; i < spec.disks.size(); ++i) {
    auto config = spec.disks[i];
    if (counts != nullptr && i < counts->disks.size()) config.counts = &counts->disks[i];
    disks.push_back(std::make_unique<platform::virtio::Block>(std::move(config),
                                                              surroundings_of(fmt::format("disk {}", i), wanted)));
    add(*disks.back());
  }
  for (std::size_t i = 0; i < spec.interfaces.size(); ++i) {
    const auto wake = [wire = spec.interfaces[i].wire] { wire->wake(); };
    auto config = spec.interfaces[i];
    if (counts != nullptr && i < counts->interfaces.size()) config.counts = &counts->interfaces[i];
    interfaces.push_back(std::make_unique<platform::virtio::Net>(
        std::move(config), surroundings_of(fmt::format("network interface {}", i), wake)));
    add(*interfaces.back());
  }
  if (spec.virtio_console) {
    virtio_console = std::make_unique<platform::virtio::Console>([this](u8 byte) { console.transmit(byte); },
                                                                 surroundings_of("virtio console", wanted));
    add(*virtio_console);
  }
  if (spec.rng) {
    platform::virtio::Rng::Source source;
    if (!deterministic()) source = fill_with_random;
    rng = std::make_unique<platform::virtio::Rng>(std::move(source), surroundings_of("source of random bytes", wanted));
    add(*rng);
  }
  if (spec.vsock.peers != nullptr) {
    const auto wake = [peers = spec.vsock.peers] { peers->wake(); };
    auto config = spec.vsock;
    if (counts != nullptr) config.counts = &counts->vsock;
    vsock = std::make_unique<platform::virtio::Vsock>(std::move(config), surroundings_of("vsock", wake));
    add(*vsock);
  }
}

/// `later`: the device's thread has something to do.
platform::virtio::Device::Surroundings Machine::surroundings_of(std::string name, std::function<void()> later) {
  platform::virtio::Device::Surroundings around{
      .dma = ram,
      .send = [this](const InterruptMessage& message) { deliver(message, nullptr); },
      .broken =
          [this, name = std::move(name), told = false](std::string_view why) mutable {
            if (note && !std::exchange(told, true)) note(fmt::format("its {} needs a reset: {}", name, why));
          }};
  if (deterministic()) return around;
  around.later = std::move(later);
  around.apart = [this](const std::function<void()>& what) { device_apart(what); };
  return around;
}

void Machine::serve_devices() {
  for (const auto& disk : disks) {
    if (disk->has_work()) disk->work();
  }
  for (const auto& interface : interfaces) {
    interface->look_at_wire();
    if (interface->has_work()) interface->work();
  }
  if (virtio_console != nullptr && virtio_console->has_work()) virtio_console->work();
  if (rng != nullptr && rng->has_work()) rng->work();
}

void Machine::serve(platform::virtio::Device& device) {
  while (!stop) {
    devices_wanted_.wait(lock, [&]() CLOISTER_REQUIRES(lock) { return stop || (device.has_work() && !held()); });
    if (!stop) device.work();
  }
}

std::size_t Machine::number_of(const platform::virtio::Net& interface) const {
  return static_cast<std::size_t>(std::ranges::find(interfaces, &interface, [](const auto& one) { return one.get(); }) -
                                  interfaces.begin());
}

// While the domain is held the interface is left alone, and what comes waits on its wire.
void Machine::serve(platform::virtio::Net& interface) {
  while (!stop) {
    if (!held()) {
      if (interface.look_at_wire() && note)
        note(fmt::format("the link of its network interface {} is {}", number_of(interface),
                         interface.up() ? "up" : "down"));
      if (interface.has_work()) {
        interface.work();
        continue;
      }
    }
    const platform::virtio::Lanes for_frames = held() ? 0 : interface.wants_frames();
    const MutexUnlock apart(lock);
    interface.wire().wait(for_frames);
  }
}

// All of it is done with the lock, and short: no host's program is waited for.
void Machine::serve(platform::virtio::Vsock& sockets) {
  using platform::virtio::Peers;
  while (!stop) {
    Peers::Wait wait = Peers::Wait::for_nothing;
    if (!held()) {
      sockets.look();
      if (sockets.has_work()) sockets.work();
      wait = sockets.has_work() ? Peers::Wait::for_a_look : Peers::Wait::for_all;
      sockets.prepare_to_wait();
    }
    const MutexUnlock apart(lock);
    sockets.peers().wait(wait);
  }
}

void Machine::device_apart(const std::function<void()>& what) {
  handler_has_lock();
  ++devices_at_work_;
  {
    const MutexUnlock apart(lock);
    what();
  }
  --devices_at_work_;
  if (held() || stop) left_guest_.notify_all();
}

void Machine::tell_all() {
  for (const auto& processor : processors) processor->notify();
  devices_wanted_.notify_all();
  for (const auto& interface : interfaces) interface->wire().wake();
  if (vsock != nullptr) vsock->peers().wake();
}

bool Machine::devices_wait() const {
  constexpr auto has_work = [](const auto& device) { return device->has_work(); };
  return std::ranges::any_of(disks, has_work) || std::ranges::any_of(interfaces, has_work) ||
         (virtio_console != nullptr && virtio_console->has_work()) || (rng != nullptr && rng->has_work());
}

void Machine::typed(std::span<const u8> bytes) {
  if (virtio_console == nullptr || !virtio_console->has_driver()) return uart.receive(bytes);
  virtio_console->receive(bytes);
  devices_wanted_.notify_all();
}

std::size_t Machine::typed_backlog() const {
  return virtio_console != nullptr && virtio_console->has_driver() ? virtio_console->backlog() : uart.backlog();
}

Pager::Need Machine::bring(arch::Gpa page, const Processor& processor) {
  if (pager == nullptr) return frame_of(page, processor) ? Pager::Need::there : Pager::Need::given;
  handler_has_lock();
  const MutexUnlock apart(lock);
  wait_for_epc();
  return pager->need(page, processor.id);
}

std::optional<arch::Mfn> Machine::frame_of(arch::Gpa page, const Processor& processor) {
  if (pager != nullptr) {
    if (!is_epc(page) || bring(page, processor) != Pager::Need::there) return std::nullopt;
    return pager->frame_of(page);
  }
  if (fixed_epc == nullptr || !is_epc(page)) return std::nullopt;
  handler_has_lock();
  while (!fixed_mover->pager().here(page)) {
    const MutexUnlock apart(lock);
    wait_for_epc();
    fixed_mover->pager().need(page);
  }
  return fixed_epc->frame_of(page);
}

std::vector<vmx::EpcSection> Machine::frames() const {
  if (pager != nullptr) return pager->held();
  if (fixed_epc == nullptr) return epc;
  FrameSet all;
  for (const auto& range : fixed_epc->held()) {
    for (const vmx::EpcSection& row : range) all.add(row);
  }
  return all.sections();
}

void Machine::wait_for_epc() {
  if (const u32 wait = epc_wait_us; wait != 0) std::this_thread::sleep_for(std::chrono::microseconds(wait));
}

void Machine::meet_root_leaves(bool meet) {
  const MutexLock held(lock);
  epc_virtualization = meet || meets_root_leaves(*this);
}

bool Machine::as_guest(Processor& processor, const std::function<void()>& work) {
  handler_has_lock();
  if (held()) return false;
  processor.activity = Processor::Activity::running;
  {
    const MutexUnlock apart(lock);
    work();
  }
  processor.activity = Processor::Activity::handling;
  if (held()) left_guest_.notify_all();
  return true;
}

std::optional<Ballooned> Machine::give_epc(std::span<const arch::Gpa> pages) {
  if (!has_balloon()) return std::nullopt;
  handler_has_lock();
  const MutexUnlock apart(lock);
  Ballooned done;
  if (pager != nullptr)
    done = pager->give(pages);
  else
    fixed_mover->pager().while_here(pages, [&] { done = fixed_epc->give(pages); });
  balloon.given += done.pages + (done.stopped == BalloonError::stuck ? 1 : 0);
  return done;
}

std::optional<Ballooned> Machine::take_epc(std::span<const arch::Gpa> pages) {
  if (!has_balloon()) return std::nullopt;
  handler_has_lock();
  const MutexUnlock apart(lock);
  const Ballooned done = pager != nullptr ? pager->take(pages) : fixed_epc->take(pages);
  balloon.given -= done.pages;
  return done;
}

void Machine::set_epc_target(u64 pages) {
  balloon.target = pages;
  if (fixed_epc != nullptr) fixed_epc->want(pages);
}

bool Machine::nobody_runs() const {
  return std::ranges::none_of(processors, [](const auto& p) { return p->activity == Processor::Activity::running; });
}

void Machine::OwnGate::close() {
  const MutexLock held(machine.lock);
  machine.left_guest_.wait(machine.lock, [this] { return !closed; });
  closed = true;
  machine.tell_all();
  machine.left_guest_.wait(machine.lock, [this]() CLOISTER_REQUIRES(machine.lock) { return machine.nobody_runs(); });
}

void Machine::OwnGate::open() {
  const MutexLock held(machine.lock);
  closed = false;
  machine.tell_all();
  machine.left_guest_.notify_all();
}

void Machine::end(Stop how, const Processor& by) {
  if (stop) return;
  stop = std::move(how);
  stopped_by = by.id;
  tell_all();
}

void Machine::press_power_button() {
  power.press_button();
  wake();
}

bool Machine::send_nmi(Processor& to) {
  if (to.waits_for_startup || to.init_wanted) return false;
  accept(to, {.delivery = nmi});
  to.notify();
  return true;
}

void Machine::pause() { stand_still(std::nullopt); }

bool Machine::pause_within(std::chrono::milliseconds most) {
  if (stand_still(most)) return true;
  unpause();
  return false;
}

bool Machine::stand_still(std::optional<std::chrono::milliseconds> most) {
  const MutexLock held(lock);
  paused = true;
  tell_all();
  const auto still = [this]() CLOISTER_REQUIRES(lock) { return !paused || nothing_moves(); };
  if (!most) {
    left_guest_.wait(lock, still);
  } else if (!left_guest_.wait_for(lock, *most, still)) {
    return false;
  }
  if (paused && !stands_since_) stands_since_ = now();
  console.flush();
  return true;
}

void Machine::wait_until_all_wait() {
  if (deterministic()) return;
  left_guest_.wait(lock, [this]() CLOISTER_REQUIRES(lock) {
    const auto waits = [](const auto& p) { return p->activity == Processor::Activity::waiting; };
    return devices_at_work_ == 0 && (stop || std::ranges::all_of(processors, waits));
  });
}

void Machine::unpause() {
  const MutexLock held(lock);
  paused = false;
  go_on();
  tell_all();
  left_guest_.notify_all();
}

void Machine::deliver(const InterruptMessage& message, const Processor* sender) {
  for (const auto& processor : processors) {
    const bool is_sender = processor.get() == sender;
    if (message.shorthand == self && !is_sender) continue;
    if (message.shorthand == all_but_self && is_sender) continue;
    if (!processor->local_apic.matches(message)) continue;
    if (trace.wants().interrupts)
      trace.line(now(), "interrupt", "message vector={:#x} delivery={} level={} to={}", message.vector,
                 message.delivery, message.level, processor->id);
    accept(*processor, message);
    if (sender != nullptr && !is_sender) ++messages;
    processor->notify();
    if (message.delivery == lowest_priority) break;
  }
}

void Machine::accept(Processor& processor, const InterruptMessage& message) {
  switch (message.delivery) {
    case fixed:
    case lowest_priority: processor.local_apic.accept(message.vector, message.level); break;
    case nmi: processor.local_apic.accept_nmi(); break;
    case init:
      // The bootstrap processor would go to its reset vector, where there is no firmware: it ignores this.
      if (processor.id != 0) processor.init_wanted = true;
      break;
    case startup:
      // Ignored unless the processor waits for it; the first of two starts it (SDM vol. 3A, 9.4.4.1).
      if (processor.init_wanted || processor.waits_for_startup) processor.startup_page = message.vector;
      break;
    default: break;  // there is no SMI
  }
}

}  // namespace cloister::hypervisor
