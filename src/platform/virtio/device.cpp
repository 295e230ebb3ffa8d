// Life and negotiation; the structures' registers are in device_registers.cpp.
#include "platform/virtio/device.hpp"

#include <algorithm>
#include <utility>

#include "arch/try.hpp"
#include "platform/bytes.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr u16 red_hat = 0x1af4, first_device = 0x1040;  // 4.1.2.1: a modern device's ID is its kind's number above this
constexpr u8 modern_revision = 1;

pci::Identity identity_of(const Device::Kind& kind) {
  return {.vendor = red_hat,
          .device = static_cast<u16>(first_device + kind.number),
          .class_code = kind.class_code,
          .revision = modern_revision,
          .subsystem_vendor = red_hat,
          .subsystem = static_cast<u16>(first_device + kind.number),
          .intx = true};
}

constexpr u8 vendor_capability = 0x09;
enum Structure : u8 {
  structure_common = 1,
  structure_notify,
  structure_isr,
  structure_device,
  structure_window
};  // 4.1.4

/// struct virtio_pci_cap, behind ID and pointer; `more`: what stands behind it.
Bytes structure(Structure type, u64 offset, u64 bytes, u8 more = 0) {
  constexpr u8 length = 16;
  Bytes body{static_cast<u8>(length + more), type, type == structure_window ? u8{0} : u8{structures_bar}, 0, 0, 0};
  append<u32>(body, static_cast<u32>(offset));
  append<u32>(body, static_cast<u32>(bytes));
  return body;
}

}  // namespace

Device::Device(const Kind& kind, unsigned queues, Surroundings surroundings)
    : Function(identity_of(kind)), around_(std::move(surroundings)), msix_(queues + 1, around_.send) {
  queues_.assign(queues, Queue(around_.dma));
  config().add_bar(msix_bar, pci::Msix::bytes, false);
  config().add_bar(structures_bar, 4 * structure_bytes, true);
  add_capabilities();
}

void Device::add_capabilities() {
  Bytes msix;
  append<u16>(msix, static_cast<u16>(msix_.vectors() - 1));
  append<u32>(msix, u32{pci::Msix::table_offset} | msix_bar);
  append<u32>(msix, u32{pci::Msix::pending_offset} | msix_bar);
  const u8 control[] = {0, (pci::Msix::control_enable | pci::Msix::control_mask) >> 8};
  msix_at_ = config().add_capability(pci::Msix::capability_id, msix, control);

  config().add_capability(vendor_capability, structure(structure_common, common_at, common_bytes));
  config().add_capability(vendor_capability, structure(structure_isr, isr_at, 1));
  config().add_capability(vendor_capability, structure(structure_device, device_at, structure_bytes));
  Bytes notify = structure(structure_notify, notify_at, queues_.size() * notify_multiplier, 4);
  append<u32>(notify, notify_multiplier);
  config().add_capability(vendor_capability, notify);
  // 4.1.4.9: another way to the structures, by configuration space; its BAR, offset and length are the driver's.
  Bytes window = structure(structure_window, 0, 0, 4), writable(window.size());
  append<u32>(window, 0);
  append<u32>(writable, 0);
  writable[2] = 0xff;
  std::fill(writable.begin() + 6, writable.begin() + 14, u8{0xff});
  window_at_ = config().add_capability(vendor_capability, window, writable);
}

Device::State Device::state() const {
  State state{.config = config().state(),
              .msix = msix_.state(),
              .driver_features = driver_features_,
              .device_feature_select = device_feature_select_,
              .driver_feature_select = driver_feature_select_,
              .config_vector = config_vector_,
              .queue_select = queue_select_,
              .status = status_,
              .isr = isr_};
  for (const Queue& queue : queues_) state.queues.push_back(queue.state);
  return state;
}

bool Device::set_state(const State& state) {
  if (state.queues.size() != queues_.size()) return false;
  const bool accepted = (state.status & status_features_ok) != 0;
  if (accepted && (state.driver_features & ~offered()) != 0) return false;
  for (const Queue::State& one : state.queues) {
    Queue queue(around_.dma);
    queue.state = one;
    if ((one.enabled || one.waits) && !queue.check()) return false;
  }
  if (!msix_.set_state(state.msix)) return false;
  config().set_state(state.config);
  driver_features_ = state.driver_features;
  device_feature_select_ = state.device_feature_select;
  driver_feature_select_ = state.driver_feature_select;
  config_vector_ = state.config_vector;
  queue_select_ = state.queue_select;
  status_ = state.status;
  isr_ = state.isr;
  for (std::size_t i = 0; i < queues_.size(); ++i) queues_[i].state = state.queues[i];
  take_features();
  return true;
}

u64 Device::offered() const {
  return feature_indirect | feature_event_index | feature_version_1 | feature_ring_reset | own_features();
}

bool Device::alive() const {
  return !reset_waits_ && (status_ & (status_driver_ok | status_needs_reset)) == status_driver_ok &&
         (config().read(pci::reg_command) & pci::command_master) != 0;
}

void Device::reset() {
  reset_waits_ = served_ != nullptr;
  if (reset_waits_) return;
  queue_reset_waits_ = false;
  driver_features_ = 0;
  device_feature_select_ = driver_feature_select_ = 0;
  config_vector_ = Queue::no_vector;
  queue_select_ = 0;
  status_ = isr_ = 0;
  for (Queue& queue : queues_) queue.state = {};
  take_features();
  was_reset();
  line_changed();
}

void Device::reset_queue(Queue& queue) {
  if (served_ == &queue) {
    queue_reset_waits_ = true;
  } else {
    queue.state = {};
  }
}

void Device::take_features() {
  for (Queue& queue : queues_) {
    queue.indirect = negotiated(feature_indirect);
    queue.event_index = negotiated(feature_event_index);
  }
  features_taken();
}

// 3.1.1. The driver only adds bits; those that say "it may be so" are not set if it may not.
void Device::write_status(u8 value) {
  if (value == 0) return reset();
  u8 added = value & (status_acknowledge | status_driver | status_driver_ok | status_features_ok | status_failed);
  if ((added & ~status_ & status_features_ok) != 0) {
    if ((driver_features_ & ~offered()) != 0 || !negotiated(feature_version_1)) added &= ~status_features_ok;
    take_features();
  }
  if (((status_ | added) & status_features_ok) == 0) added &= ~status_driver_ok;
  status_ |= added;
}

void Device::break_down(const Broken& why) {
  if (around_.broken && (status_ & status_needs_reset) == 0) around_.broken(why.why);
  status_ |= status_needs_reset;
  config_changed();  // 2.1.2
}

void Device::config_changed() {
  constexpr u8 isr_config = 2;
  if ((status_ & status_driver_ok) != 0) interrupt_for(config_vector_, isr_config);
}

void Device::interrupt_for(u16 vector, u8 isr_bit) {
  if (msix_.enabled()) {
    if (vector != Queue::no_vector) msix_.signal(vector);
    return;
  }
  isr_ |= isr_bit;
  line_changed();
}

bool Device::line() const {
  return isr_ != 0 && !msix_.enabled() && (config().read(pci::reg_command) & pci::command_no_intx) == 0;
}

void Device::enable(Queue& queue) {
  if (const auto possible = queue.check(); !possible) return break_down(possible.error());
  queue.state.enabled = true;
}

void Device::notify(u64 number) {
  if (number >= queues_.size() || !queues_[number].state.enabled) return;
  queues_[number].state.waits = true;
  if (around_.later) return around_.later();
  work();
}

bool Device::apart(const std::function<void()>& what) {
  if (around_.apart) {
    around_.apart(what);
  } else {
    what();
  }
  return !reset_waits_ && !queue_reset_waits_;
}

bool Device::has_work() const {
  for (unsigned number = 0; number < queues_.size(); ++number) {
    if (waits(number) && can_serve(number)) return true;
  }
  return false;
}

void Device::work() {
  constexpr u8 isr_queue = 1;
  for (unsigned number = 0; number < queues_.size(); ++number) {
    Queue& queue = queues_[number];
    if (!waits(number) || !can_serve(number)) continue;
    served_ = &queue;
    queue.state.waits = false;  // a notification that comes while it is served counts
    const auto more = serve(number, queue);
    served_ = nullptr;
    if (reset_waits_) return reset();
    if (std::exchange(queue_reset_waits_, false)) {
      reset_queue(queue);
      continue;
    }
    if (more && *more) queue.state.waits = true;
    if (!more) return break_down(more.error());
    const auto wanted = queue.wants_interrupt();
    if (!wanted) return break_down(wanted.error());
    if (*wanted) interrupt_for(queue.state.vector, isr_queue);
  }
}

}  // namespace cloister::platform::virtio
